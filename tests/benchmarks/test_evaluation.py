"""The measurement of evaluations on one core."""

import sys
from types import SimpleNamespace

import pytest

from benchmarks import evaluation


def test_a_table_of_each_part_and_of_what_follows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter(range(1000))
    monkeypatch.setattr(
        evaluation, "time", type("Clock", (), {"process_time": staticmethod(lambda: float(next(times)))})
    )
    network = SimpleNamespace(of=lambda images: images, change=lambda one, two: [])
    for name in ("feature_network", "Structure"):
        monkeypatch.setattr(evaluation, name, lambda *_: network)
    monkeypatch.setattr(sys, "argv", ["evaluation", "--size", "32", "--images", "30", "--repeats", "1"])
    evaluation.main()
    out = capsys.readouterr().out
    assert "| generator | 0.250 |" in out and "| efficientnet_lite2 | 0.250 |" in out  # a second for a batch of four
    # 60 images, each with its translation and the features of two: .75 seconds.
    assert "| distances, untrained | 0.8 | 80.0 |" in out
    assert "| all, efficientnet_lite0 + efficientnet_lite2 | 2.0 | 30.0 |" in out  # 2 seconds: 3 + 4 + 1 quarters
