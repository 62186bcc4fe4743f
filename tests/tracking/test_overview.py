"""What journals and locks say of runs: states, progress, and how fast 50 are read."""

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.storage.checked import write_checked
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal, append, read_records, sparse_records
from cyclegan_dist.tracking.overview import RunOverview, bytes_in, find_runs, overview

CONFIG: dict[str, Any] = {
    "method.name": "cyclegan",
    "data.preprocess": "resize_and_crop",
    "data.crop_size": 64,
    "every.log": 100,
    "world.timeout_s": 30.0,
}
SPEED = {"perf/images_per_s": 2.0, "perf/eta_s": 400.0, "loss/G": 1.0}
MakeRun = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> MakeRun:
    """Makes a run of 1,000 images with a record of losses after 200, and further records."""

    def make(name: str = "one", *further: dict[str, Any], metrics: bool = True) -> Path:
        path = tmp_path / "runs" / name
        with Journal(path) as journal:
            journal.write("run", config=CONFIG, data=[], nimg=0, total=1000)
            if metrics:
                journal.write("metrics", step=200, nimg=200, values=SPEED)
            for record in further:
                journal.write(**record)
        return path

    return make


def held(path: Path) -> RunOverview:
    """The overview while another process holds the lock."""
    with lock(RunFolder(path).lock):
        return overview("it", path)


def test_a_running_run_is_told_from_a_killed_one_by_its_lock(run: MakeRun) -> None:
    path = run()
    running, killed = held(path), overview("it", path)
    assert (running.state, killed.state) == ("running", "killed")
    assert running.eta_s == pytest.approx(400, abs=20) and killed.eta_s is None
    for found in (running, killed):
        assert (found.images, found.total, found.images_per_s, found.method) == (200, 1000, 2.0, "cyclegan 64")


@pytest.mark.parametrize(
    ("end", "alone", "locked"),
    [
        ("FINISHED", "finished", "finished"),  # its launcher may be sending the rest to MLflow
        ("KILLED", "stopped", "stopped"),
        ("FAILED", "failed", "starting"),  # Ray restarts the ranks
    ],
)
def test_the_end_in_the_journal_counts(run: MakeRun, end: str, alone: str, locked: str) -> None:
    path = run("one", {"kind": "failure", "text": "rank 1: gone", "ranks": [1]}, {"kind": "end", "status": end})
    assert (overview("it", path).state, held(path).state) == (alone, locked)
    assert overview("it", path).reason == ("rank 1: gone" if end == "FAILED" else "")
    RunFolder(path).write_failure(ValueError("the data set is not the same"), 0)
    assert overview("it", path).reason == ("the data set is not the same" if end == "FAILED" else "")


def test_a_run_that_has_been_resumed_is_not_what_it_was(run: MakeRun) -> None:
    path = run("one", {"kind": "end", "status": "FAILED"})
    append(path, "run", config=CONFIG, data=[], nimg=100, total=2000)
    found = held(path)
    assert (found.state, found.images, found.total, found.eta_s) == ("running", 200, 2000, None)
    append(path, "estimate", step=102, nimg=102, values={"images_per_s": 4.0, "seconds": 500.0})
    found = held(path)
    assert found.images_per_s == 4.0 and found.eta_s == pytest.approx(500, abs=20)


@pytest.mark.parametrize(("end", "was"), [("FINISHED", "finished"), ("KILLED", "stopped")])
def test_a_run_that_is_being_resumed_is_starting(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch, end: str, was: str
) -> None:
    path, now = run("one", {"kind": "end", "status": end}), time.time()
    monkeypatch.setattr("time.time", lambda: now + 140)
    assert (held(path).state, overview("it", path).state) == ("starting", was)


def test_what_writes_no_records_has_stalled(run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now = run(), time.time()
    states = []
    for later in (290, 310):  # ten times world.timeout_s
        monkeypatch.setattr("time.time", lambda later=later: now + later)
        states.append(held(path).state)
    assert states == ["running", "stalled"]
    monkeypatch.setattr("time.time", lambda: now)
    append(path, "metrics", step=300, nimg=300, values={**SPEED, "perf/images_per_s": 0.1})  # a record in 1,000 s
    monkeypatch.setattr("time.time", lambda: now + 2900)
    assert held(path).state == "running"
    monkeypatch.setattr("time.time", lambda: now)
    append(path, "metrics", step=1000, nimg=1000, values=SPEED)
    monkeypatch.setattr("time.time", lambda: now + 1e5)
    assert held(path).state == "running"  # evaluations at the end may take as long as they need


def test_a_run_without_records_is_starting_or_not_started(tmp_path: Path) -> None:
    path = tmp_path / "new"
    path.mkdir()
    RunFolder(path).config.write_text("name: new")
    assert (held(path).state, overview("new", path).state) == ("starting", "not started")


def test_the_best_figure_and_the_size_are_those_of_the_folder(run: MakeRun) -> None:
    path = run("one", {"kind": "early_end", "nimg": 300, "patience": 100}, {"kind": "end", "status": "FINISHED"})
    write_checked(RunFolder(path).best, {"snapshot": "snapshots/a", "figure": "eval/kid", "value": 0.25})
    (path / "deep").mkdir()
    (path / "deep" / "file").write_bytes(bytes(1000))
    found = overview("it", path)
    assert (found.best, found.best_snapshot, found.total) == (("eval/kid", 0.25), "snapshots/a", 300)
    assert found.bytes == bytes_in(path) == sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    RunFolder(path).best.write_text("{")
    assert overview("it", path).best is None


def test_trials_of_sweeps_are_found_and_a_run_itself(run: MakeRun, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    one, _ = run("one"), run("sweep/trial-1")
    (runs / "sweep" / "sweep.jsonl").touch()
    (runs / "notes").mkdir()
    assert [name for name, _ in find_runs(runs)] == ["one", "sweep/trial-1"]
    assert list(find_runs(one)) == [("one", one)]


@pytest.mark.parametrize("closed", ["folder", "lock", "journal"])
def test_a_run_that_cannot_be_read_is_listed_beside_the_others(
    run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    run("good")
    bad = RunFolder(run("bad"))
    if closed == "lock":
        bad.lock.symlink_to(bad.lock)
    elif closed == "journal":
        bad.journal.unlink()
        bad.journal.mkdir()
    else:
        for name in ("stat", "scandir"):
            refuse_under(bad.path, name, monkeypatch)
    found = [overview(name, path) for name, path in find_runs(tmp_path / "runs")]
    assert [(one.name, one.state) for one in found] == [("bad", "unreadable"), ("good", "killed")]
    assert found[0].reason.startswith(f"{getattr(bad, closed, bad.path)}: ")


def refuse_under(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a function of `os` fail for what is in a folder, as without permissions; root has them all."""
    function = getattr(os, name)

    def refusing(path: Any, *args: Any, **options: Any) -> Any:
        if folder == Path(path).parent or (name == "scandir" and folder == Path(path)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return function(path, *args, **options)

    monkeypatch.setattr(os, name, refusing)


def test_a_file_that_vanishes_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(bytes(10))
    scandir = os.scandir

    def then_vanishes(path: Path) -> contextlib.nullcontext[list[os.DirEntry[str]]]:
        entries = sorted(scandir(path), key=lambda entry: entry.name)
        (path / "a").unlink()
        return contextlib.nullcontext(entries)

    monkeypatch.setattr("os.scandir", then_vanishes)
    assert bytes_in(tmp_path) == 20


def test_of_metrics_that_follow_each_other_the_last_is_read(run: MakeRun) -> None:
    further = [{"kind": "metrics", "step": step, "nimg": step, "values": SPEED} for step in (300, 400)]
    path = RunFolder(
        run("one", {"kind": "message", "text": "a"}, *further, {"kind": "end", "status": "FINISHED"})
    ).journal
    found = [(record["kind"], record.get("step")) for record in sparse_records(path)]
    assert found == [("run", None), ("metrics", 200), ("message", None), ("metrics", 400), ("end", None)]
    with path.open("ab") as file:
        file.write(b'{"kind": "metrics", "step"\nnonsense\n')
    assert len(list(sparse_records(path))) == 5


def test_fifty_long_runs_take_less_than_a_second(run: MakeRun, tmp_path: Path) -> None:
    path = RunFolder(run()).journal
    line = path.read_text().splitlines(keepends=True)[1]
    path.write_text(path.read_text() + 2500 * line)  # those of 250,000 images
    for number in range(49):
        other = RunFolder(tmp_path / "runs" / f"run-{number}").journal
        other.parent.mkdir()
        other.hardlink_to(path)
    started = time.process_time()
    found = [overview(*one) for one in find_runs(tmp_path / "runs")]
    assert time.process_time() - started < 1.0
    assert len(found) == 50 and {one.images for one in found} == {200}
    assert json.dumps(found[0].state) and len(list(read_records(path, 0))) == 2502
