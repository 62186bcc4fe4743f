"""The flicker figure: exact for copies, noise and movement of the input do not count, flicker does."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cyclegan_dist.translation import flicker
from cyclegan_dist.translation.flicker import Flicker, FlickerMeter

Frames = np.ndarray  # count x height x width x 3, uint8


def scene(count: int, step: int = 0, noise: float = 0, height: int = 96, width: int = 128) -> Frames:
    """Frames of a random texture with edges that a camera passes by, `step` pixels a frame, with a camera's noise."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(30, 225, (height // 8, (width + abs(step) * count) // 8 + 1, 3))
    wide = coarse.repeat(8, 0).repeat(8, 1)
    wide = (wide + np.roll(wide, 3, 0) + np.roll(wide, 3, 1)) / 3
    frames = np.stack([wide[:height, step * t : step * t + width] for t in range(count)])
    return (frames + rng.normal(0, noise, frames.shape) * (noise > 0)).round().clip(0, 255).astype(np.uint8)


def measured(frames: Frames, translate: Callable[[Frames, int], Frames]) -> Flicker:
    meter = FlickerMeter()
    for t, frame in enumerate(frames):
        pair = (frame, translate(frame.astype(float), t).round().clip(0, 255).astype(np.uint8))
        meter.add(*(torch.from_numpy(pixels).permute(2, 0, 1) for pixels in pair))
    found = meter.result()
    assert found is not None
    return found


def copy(frame: Frames, t: int) -> Frames:
    return frame


def brighter(frame: Frames, t: int) -> Frames:
    """What a consistent generator does: other tones and more contrast, the same for every frame."""
    return 255 * (frame / 255) ** 1.5


def blinking(frame: Frames, t: int) -> Frames:
    return frame + (6 if t % 2 else -6)


def restless(frame: Frames, t: int) -> Frames:
    """Details that are drawn anew for every frame."""
    return frame + np.random.default_rng(t).normal(0, 8, frame.shape)


SCENES = {
    "still": scene(6),
    "noise": scene(6, noise=2),
    "pan": scene(6, step=5),
    "pan with noise": scene(6, step=3, noise=2),
}


@pytest.mark.parametrize("name", SCENES)
def test_a_copy_has_ratio_1(name: str) -> None:
    found = measured(SCENES[name], copy)
    assert found.ratio == 1 and found.excess == 0 and not found.flickers and found.unchanged > 0.7


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize(("translate", "flickers"), [(brighter, False), (blinking, True), (restless, True)])
def test_flicker_is_told_from_noise_and_movement(name: str, translate: Callable, flickers: bool) -> None:
    found = measured(SCENES[name], translate)
    assert found.flickers == flickers
    if translate is blinking and "noise" not in name:
        assert found.excess == pytest.approx(12, abs=1.5)  # 2 x 6, less what is clipped
    assert ("flickers: the translation changes by" in found.lines("x")[-1]) == flickers


def test_large_frames_are_compared_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flicker, "PIXELS_EACH", 96 * 128 // 3)
    found = measured(scene(10), blinking)
    assert found.pairs == 3 and found.translation_change == pytest.approx(
        12, abs=1.5
    )  # frames 0 and 1, 3 and 4, 6 and 7


def test_frames_above_a_megapixel_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flicker, "MOST_PIXELS", 96 * 128 // 4)
    assert measured(scene(4, step=4), copy).ratio == 1
    assert measured(scene(4, step=4), blinking).excess == pytest.approx(12, abs=1.5)


def test_unrelated_frames_have_no_figure() -> None:
    meter = FlickerMeter()
    for seed in range(3):
        frame = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        meter.add(frame, frame)
    assert meter.result() is None
