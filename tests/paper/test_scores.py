"""Where scores of runs are kept."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.paper.scores import Scorer
from tests.training.trainings import ALONE


def test_what_is_left_is_counted_without_reading_weights_for_each_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted every 10 s, over all snapshots of all runs."""
    weights, read = tmp_path / "segmenter.safetensors", list[Path]()
    weights.write_bytes(b"weights")
    for nimg in range(5):
        (tmp_path / "snapshots" / f"nimg-{nimg}").mkdir(parents=True)
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or read_bytes(path))
    data: Any = SimpleNamespace(parts={})
    scorer = Scorer(data, EvaluationConfig(palette="streets", segmenter=str(weights)), "kd/untrained", ALONE)
    assert scorer.left(tmp_path) == 6  # each on the validation images, the last one on the test images too
    assert read.count(weights) == 1
