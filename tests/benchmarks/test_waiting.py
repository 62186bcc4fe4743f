"""Tests of the measurement of the time spent waiting for data."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import waiting
from benchmarks.waiting import LOADERS, POINTS, main, share, timed
from cyclegan_dist.errors import UsageError


def journal(*points: tuple[float, float]) -> list[dict[str, Any]]:
    """A journal with points of (epoch, share of time spent waiting)."""
    values = ({"progress/epoch": epoch, "perf/data_wait_frac": waited} for epoch, waited in points)
    return [{"kind": "run"}, *({"kind": "metrics", "values": each} for each in values)]


def test_the_first_pass_is_not_measured() -> None:
    assert share(journal((0.5, 0.9), (1.0, 0.8), (1.5, 0.25), (2.0, 0.75))) == 0.5


def test_each_loader_setting_is_a_separate_training_over_several_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = {}

    def train(folder: Path, how: object, preset: str, name: str, options: dict[str, Any]) -> list[dict[str, Any]]:
        runs[name] = options
        return journal((2.0, 0.02))

    monkeypatch.setattr(waiting, "run", train)
    candidates = timed(tmp_path, "demo", {"data.path": "there"}, images=100)
    assert [candidate() for candidate in candidates.values() for _ in range(2)] == [2.0] * 6
    assert len(runs) == 6
    for options, loader in zip(runs.values(), [each for each in LOADERS.values() for _ in range(2)], strict=True):
        assert options | loader == options
        assert options["data.path"] == "there"
        assert options["stop_after"] == 2 * 100 and options["every.log"] * POINTS == 100


def test_too_few_images_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --count at least 5"):
        main((tmp_path, tmp_path), count=4)
