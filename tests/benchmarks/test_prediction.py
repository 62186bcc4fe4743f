"""Tests of the prediction for the paper's experiment on many GPUs."""

from pathlib import Path

import pytest

from benchmarks import prediction
from benchmarks.prediction import LINKS, RANKS, draw, predict


def test_efficiency_increases_with_images_and_bandwidth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(prediction, "MICRO_BATCHES", (1, 16))
    found = predict(3e14, jitter=0.02)
    slow, fast = next(iter(LINKS)), list(LINKS)[-1]
    for micro_batch in (1, 16):
        assert len(found[micro_batch][slow]) == len(RANKS) and found[micro_batch][slow][0] == 1
        assert found[micro_batch][slow][-1] < found[micro_batch][fast][-1]
    assert found[1][slow][-1] < found[16][slow][-1]
    draw(found, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_slower_arithmetic_increases_efficiency_and_jitter_decreases_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "MICRO_BATCHES", (1,))
    middle = list(LINKS)[-2]
    fast, slow, jittery = (predict(rate, jitter)[1][middle][-1] for rate, jitter in ((3e14, 0), (1e14, 0), (3e14, 0.1)))
    assert slow > fast > jittery
