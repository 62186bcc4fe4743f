"""Evaluations that take longer than the training from one snapshot to the next."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.evaluation import during_training
from tests.training.trainings import go, records

FIGURES = {8: 0.1, 16: 0.2, 24: 0.3, 32: 0.4}  # by images
WRONG = [{"name": "collapsed", "direction": way, "text": f"all {way} are alike"} for way in ("AB", "BA")]


class Slow:
    """In place of an evaluation's process: it has ended when it was asked `looks` times."""

    looks = 10
    code = 0

    def __init__(self, command: list[str], **_: Any):
        snapshot = Path(command[6])
        nimg = int(snapshot.name[5:])
        facts = {"step": nimg // 2, "nimg": nimg, "data": {}, "findings": WRONG}
        figures = {"kd/untrained_AB": {"value": FIGURES.get(nimg, 1.0)}}
        self._result = snapshot.parent.parent / "evaluations" / snapshot.name / "metrics.json"
        self._content, self._left = json.dumps({**facts, "figures": figures}), self.looks

    def poll(self) -> int | None:
        self._left -= 1
        return None if self._left > 0 else self.wait()

    def wait(self, timeout: float | None = None) -> int:
        self._result.parent.mkdir(parents=True, exist_ok=True)
        self._result.write_text(self._content)
        return self.code


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> type[Slow]:
    class Process(Slow):
        pass

    how = SimpleNamespace(Popen=Process, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(during_training, "subprocess", how)
    return Process


@pytest.fixture
def said(tiny_run: Callable[..., Config], dataset: Path) -> Callable[..., list[str]]:
    """The messages of a run of 20 steps, with a snapshot every 4."""

    def train(**changes: object) -> list[str]:
        how = {"held_out__data": str(dataset), "every__snapshot": 8, "schedule__n_epochs": 2, "optim__batch_size": 2}
        config = tiny_run(**{**how, **changes})
        assert go(config) == "FINISHED"
        return [record["text"] for record in records(config) if record["kind"] == "message"]

    return train


def test_training_ends_when_late_figures_show_it_and_says_once_that_they_are_late(
    said: Callable[..., list[str]],
) -> None:
    lines = said(held_out__patience=8, schedule__n_epochs=8)
    late = [line for line in lines if "behind training" in line]
    assert late == [
        "evaluation is 2 snapshots behind training, so that held_out.patience ends it that much later: make snapshots "
        "less often (every.snapshot, now 8 images)"
    ]
    ends = [line for line in lines if line.startswith("ending before the schedule does: kd/untrained was lowest, 0.1")]
    assert len(ends) == 1 and "in the 8 images since" in ends[0] and lines.index(late[0]) < lines.index(ends[0])


def test_figures_that_come_too_late_are_said_to_and_findings_are_one_line_of_each_kind(
    said: Callable[..., list[str]], slow: type[Slow]
) -> None:
    slow.looks = 1000
    lines = said(held_out__patience=8)
    assert not any("ending before" in line for line in lines)
    assert any(line.startswith("evaluated too late to end the training before its schedule did: kd/") for line in lines)
    assert [line for line in lines if "alike" in line] == [
        "at 40 images, collapsed: all AB are alike (5 of 5 snapshots)",
        "at 40 images, collapsed: all BA are alike (5 of 5 snapshots)",
    ]


def test_a_finding_that_repeats_is_said_once_and_at_the_end_how_often(
    said: Callable[..., list[str]], slow: type[Slow]
) -> None:
    slow.looks = 3
    lines = said(held_out__patience=1000)
    assert not any("late" in line or "behind" in line for line in lines)  # they are in time
    assert [line for line in lines if "alike" in line] == [
        "at 8 images, collapsed: all AB are alike",
        "at 8 images, collapsed: all BA are alike",
        "at 40 images, collapsed: all AB are alike (5 of 5 snapshots)",
        "at 40 images, collapsed: all BA are alike (5 of 5 snapshots)",
    ]


def test_an_evaluation_that_fails_each_time_is_said_to_once(said: Callable[..., list[str]], slow: type[Slow]) -> None:
    slow.code, slow.looks = 2, 1000
    assert [line for line in said() if "not evaluated" in line] == [
        "snapshot nimg-000000040 was not evaluated: exit code 2 (5 of 5 snapshots)"
    ]
