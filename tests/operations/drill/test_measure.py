"""The figures of a drill, on histories whose figures are known."""

import json
from pathlib import Path

import pytest

from cyclegan_dist.operations.drill.measure import costs, goodput, lineage, read_steps
from cyclegan_dist.operations.drill.plan import Fault, random_plan, read_plan, write_plan
from cyclegan_dist.tracking.journal import append

KILL = Fault(number=0, kind="kill", step=5, rank=1)


def history(*attempts: tuple[str, range, float]) -> list[dict[str, object]]:
    """Attempts: name, steps, time of the first; a second each."""
    return [{"step": s, "time": t + i, "attempt": name} for name, steps, t in attempts for i, s in enumerate(steps)]


@pytest.mark.parametrize(
    ("attempts", "lost", "doubled"),
    [
        ([("a", range(1, 11), 0.0)], 0, 0),
        ([("a", range(1, 7), 0.0), ("b", range(5, 11), 20.0)], 0, 0),
        ([("a", range(1, 7), 0.0), ("b", range(9, 11), 20.0)], 2, 0),
        ([("a", [1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10], 0.0)], 0, 1),
        ([("a", range(1, 7), 0.0), ("b", range(3, 7), 20.0)], 4, 0),
    ],
)
def test_lost_and_doubled_steps_are_counted(attempts: list[tuple[str, range, float]], lost: int, doubled: int) -> None:
    assert lineage(history(*attempts), 10) == (lost, doubled)


def test_goodput_is_the_share_of_time_of_steps_that_count() -> None:
    assert goodput(history(("a", range(1, 11), 0.0))) == 1
    # Nine steps of a second in 9 + 9 seconds: six, of which four are repeated, and a pause of ten.
    assert goodput(history(("a", range(1, 7), 0.0), ("b", range(3, 11), 11.0))) == pytest.approx(9 / 18)


def test_the_cost_of_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plan(tmp_path, [KILL])
    steps = history(("a", range(1, 7), 100.0), ("b", range(4, 9), 120.0))
    torn = '{"step": 9, "ti'
    (tmp_path / "drill" / "steps.jsonl").write_text("".join(f"{json.dumps(step)}\n" for step in steps) + torn)
    facts = {"time": 105.5, "step": 7, "attempt": "a", "host": "x"}
    (tmp_path / "drill" / "injected-0.json").write_text(json.dumps(facts))
    for moment in (90.0, 107.0):
        monkeypatch.setattr("cyclegan_dist.tracking.journal.time.time", lambda moment=moment: moment)
        append(tmp_path, "failure", text="rank 1 died", ranks=[1])
    assert len(read_steps(tmp_path)) == len(steps)
    (cost,) = costs(tmp_path, [KILL, Fault(number=1, kind="kill", step=50)])
    assert (cost.step, cost.detection_s, cost.recovery_s, cost.repeated) == (7, 1.5, 14.5, 3)


def test_plans_are_read_back_equal(tmp_path: Path) -> None:
    assert read_plan(tmp_path) is None
    faults = random_plan(30, first=10, every=5, ranks=3, seed=1, kinds=["kill", "hang"])
    write_plan(tmp_path, faults)
    assert read_plan(tmp_path) == faults
    assert {fault.rank for fault in faults} == {0, 1, 2} and {fault.kind for fault in faults} == {"kill", "hang"}
    assert [fault.step for fault in faults[:3]] == [10, 15, 20]
    assert faults == random_plan(30, first=10, every=5, ranks=3, seed=1, kinds=["kill", "hang"])
