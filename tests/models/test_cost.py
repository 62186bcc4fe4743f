from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cyclegan_dist.models import cost
from cyclegan_dist.models.cost import multiply_adds, slow_seconds_per_pixel
from cyclegan_dist.networks.config import GeneratorConfig


def translator(seconds: float, worked: float, clock: dict[str, float], device: str = "cpu") -> Any:
    """One that takes so long, and keeps the processor busy for so long."""

    def translate_batch(images: list[Tensor]) -> list[Tensor]:
        clock["wall"] += seconds
        clock["worked"] += worked
        clock["pixels"] = images[0][0].numel()
        return images

    return SimpleNamespace(translate_batch=translate_batch, in_channels=3, multiple=4, device=torch.device(device))


@pytest.mark.parametrize(
    ("seconds", "worked", "device", "found"),
    [(4.0, 3.5, "cpu", 3.5), (4.0, 0.5, "cpu", None), (4.0, 0.5, "cuda", 4.0), (0.9, 0.9, "cpu", None)],
)
def test_a_slow_translation_is_timed_once(
    seconds: float, worked: float, device: str, found: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"wall": 0.0, "worked": 0.0}
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(cost.time, "process_time", lambda: clock["worked"])
    per_pixel = slow_seconds_per_pixel(translator(seconds, worked, clock, device))
    assert (clock["wall"], clock["pixels"]) == (seconds, 32 * 32)
    assert per_pixel == (None if found is None else pytest.approx(found / 32**2))


def test_multiply_adds_are_those_of_the_literature() -> None:
    """56.8 G for the paper's generator (Li et al. 2020, table 1); one residual block by hand."""
    assert multiply_adds((3, 3), GeneratorConfig()) / 1e9 == pytest.approx(56.8, abs=0.05)
    one, two = (multiply_adds((3, 3), GeneratorConfig(ngf=4, n_blocks=n), side=32) for n in (1, 2))
    assert two - one == 2 * 8 * 8 * 16 * 16 * 9
    one, two = (multiply_adds((3, 1), GeneratorConfig(ngf=4, n_blocks=n, separable=True), side=32) for n in (1, 2))
    assert two - one == 2 * 8 * 8 * 16 * (9 + 16)
