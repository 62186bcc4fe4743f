"""Tests of the profile of a training step."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.profiler import profile

from benchmarks.breakdown import OTHER, breakdown, kind


def test_kind_is_the_first_match_in_an_operations_or_its_callers_names() -> None:
    assert kind(["aten::copy_", "aten::contiguous", "aten::convolution_backward"]) == "convolutions, backward"
    assert kind(["aten::mul_", "Optimizer.step#Adam.step"]) == "Adam"
    assert kind(["aten::copy_"]) == OTHER


def test_all_time_is_counted_once() -> None:
    layer, x = torch.nn.Conv2d(8, 8, 3), torch.randn(4, 8, 32, 32)
    with profile() as profiler:
        for _ in range(20):
            layer(x).relu().sum().backward()
    found = breakdown(list(profiler.events() or []), "cpu")
    assert found.total() == pytest.approx(profiler.key_averages().self_cpu_time_total, rel=1e-6)
    assert found["convolutions, backward"] > found["activations"] > 0


def test_an_operation_is_attributed_to_its_caller() -> None:
    def event(name: str, parent: object, microseconds: float) -> Any:
        device = SimpleNamespace(name="CPU")
        return SimpleNamespace(
            name=name, cpu_parent=parent, device_type=device, self_cpu_time_total=microseconds, self_device_time_total=7
        )

    step = event("Optimizer.step#Adam.step", None, 1)
    events = [step, event("aten::mul_", step, 20), event("aten::mul_", None, 300)]
    assert breakdown(events, "cpu") == {"Adam": 21, OTHER: 300}
    assert breakdown(events, "cuda") == {"Adam": 14, OTHER: 7}
