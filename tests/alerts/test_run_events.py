"""What is alerted of, by a run's journal and lock."""

import time
from pathlib import Path
from typing import Any

from cyclegan_dist.alerts.run_events import RunEvents
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import append
from tests.watch.runs import make_run

LATE_S = 301.0  # 10 times world.timeout_s


def found(events: RunEvents, *, confirm_s: float = 0, after_s: float = 0) -> list[tuple[str, str]]:
    return [(alert.event, alert.reason) for alert in events.look(confirm_s, time.time() + after_s)]


def evaluation(nimg: int, *findings: str) -> dict[str, Any]:
    described = [{"name": name, "direction": "AB", "text": f"{name} at {nimg}"} for name in findings]
    return {"step": nimg, "nimg": nimg, "values": {}, "findings": described}


def test_a_run_that_finished_or_was_stopped(tmp_path: Path) -> None:
    make_run(tmp_path / "stopped", end="KILLED")
    assert found(RunEvents(tmp_path / "stopped", "it"), after_s=LATE_S) == []
    run = RunEvents(make_run(tmp_path / "done", end="FINISHED"), "done")
    [first] = run.look(0)
    assert (first.event, first.name, first.facts["images"]) == ("finished", "done", 12)
    [again] = RunEvents(tmp_path / "done", "other name").look(0)
    assert again.id == first.id
    append(tmp_path / "done", "alert", **first.record())
    run.look(0)
    assert [*run.recorded] == [first.id]


def test_a_launcher_that_is_gone_has_failed_when_it_is_sure(tmp_path: Path) -> None:
    events = RunEvents(make_run(tmp_path / "one"), "one")
    with lock(RunFolder(tmp_path / "one").lock):
        assert found(events) == [] and events.active
    assert found(events, confirm_s=5) == [] and events.unconfirmed and not events.active
    [(event, reason)] = found(events, confirm_s=5, after_s=5.1)
    assert event == "failed" and "launcher was killed" in reason


def test_a_lock_that_was_never_seen_may_be_another_machines(tmp_path: Path) -> None:
    events = RunEvents(make_run(tmp_path / "one"), "one")
    assert found(events) == found(events, after_s=100) == []
    [(event, reason)] = found(events, after_s=LATE_S)
    assert event == "failed" and reason.startswith("nothing shows that its launcher is still there")


def test_a_failure_is_told_by_its_reason_until_another_attempt(tmp_path: Path) -> None:
    path = make_run(tmp_path / "one", end="FAILED")
    with lock(RunFolder(path).lock):  # the launcher restarts the ranks, or has given up
        events = RunEvents(path, "one")
        assert found(events) == []
        append(path, "gave_up", text="training failed: rank 1")
        assert found(events) == [("failed", "training failed: rank 1")]
        make_run(path, points=4)
        assert found(events) == []
        append(path, "end", status="FAILED")
    RunFolder(path).write_failure(ValueError("no good"), 0)
    assert found(events) == [("failed", "no good")]


def test_a_run_without_progress_has_stalled_once_for_each_place(tmp_path: Path) -> None:
    path = make_run(tmp_path / "one")
    events = RunEvents(path, "one")
    with lock(RunFolder(path).lock):
        assert found(events, after_s=LATE_S - 2) == []
        [first] = events.look(0, time.time() + LATE_S)
        later_ms = int(1000 * (time.time() + LATE_S))
        append(path, "message", text="still waiting", time=later_ms)  # is no progress
        [again] = events.look(0, time.time() + LATE_S)
        assert first.event == again.event == "stalled" and first.id == again.id
        append(path, "metrics", step=4, nimg=16, values={"perf/images_per_s": 2.0})
        assert events.look(0) == []
        [later] = events.look(0, time.time() + LATE_S)
        assert later.id != first.id
        append(path, "metrics", step=25, nimg=100, values={"perf/images_per_s": 2.0})  # the last evaluation may last
        assert found(events, after_s=LATE_S) == []


def test_a_collapse_is_told_once_until_it_is_over(tmp_path: Path) -> None:
    path = make_run(tmp_path / "one")
    events = RunEvents(path, "one")
    ids = []
    with lock(RunFolder(path).lock):
        for nimg, findings in ((4, ("do-nothing",)), (8, ("collapsed", "discriminator-won")), (12, ("collapsed",))):
            append(path, "evaluation", **evaluation(nimg, *findings))
            ids.append([(alert.event, alert.reason, alert.id) for alert in events.look(0)])
        assert ids[0] == [] and ids[1][0][:2] == ("collapsed", "collapsed at 8; discriminator-won at 8")
        assert ids[1][0][2] == ids[2][0][2]
        append(path, "evaluation", **evaluation(16))
        assert events.look(0) == []
        append(path, "evaluation", **evaluation(20, "collapsed"))
        assert events.look(0)[0].id != ids[1][0][2]
        append(path, "evaluation", step=24, nimg=24, values={})  # of an older version
        assert events.look(0) == []


def test_another_run_in_the_folder_is_read_anew(tmp_path: Path) -> None:
    path = make_run(tmp_path / "one", end="FINISHED")
    events = RunEvents(path, "one")
    [first] = events.look(0)
    RunFolder(path).journal.unlink()
    make_run(path, points=1, end="FINISHED")
    [second] = events.look(0)
    assert first.id != second.id and second.facts["images"] == 4


def test_a_folder_without_records_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert RunEvents(tmp_path / "one", "one").look(0) == []
