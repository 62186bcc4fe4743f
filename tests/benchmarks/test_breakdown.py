"""Which operation belongs to what."""

import pytest
import torch
from torch.profiler import profile

from benchmarks.breakdown import OTHER, breakdown, kind


def test_the_first_kind_that_fits_a_name_or_a_callers() -> None:
    assert kind(["aten::copy_", "aten::contiguous", "aten::convolution_backward"]) == "convolutions, backward"
    assert kind(["aten::mul_", "Optimizer.step#Adam.step"]) == "Adam"
    assert kind(["aten::copy_"]) == OTHER


def test_all_time_is_told_once() -> None:
    layer, x = torch.nn.Conv2d(8, 8, 3), torch.randn(4, 8, 32, 32)
    with profile() as profiler:
        for _ in range(20):
            layer(x).relu().sum().backward()
    found = breakdown(list(profiler.events()), "cpu")
    assert found.total() == pytest.approx(profiler.key_averages().self_cpu_time_total, rel=1e-6)
    assert found["convolutions, backward"] > found["activations"] > 0
