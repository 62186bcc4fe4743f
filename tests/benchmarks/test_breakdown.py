"""Which operation belongs to what."""

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
    events = list(profiler.events())
    found = breakdown(events)
    assert found.total() == sum(event.self_cpu_time_total for event in events if event.device_type.name == "CPU")
    assert found["convolutions, backward"] > found["activations"] > 0
