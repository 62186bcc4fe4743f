"""`sweep.jsonl` holds the whole state of a sweep, whenever its process dies."""

import os
from pathlib import Path

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.sweep.config import Values
from cyclegan_dist.sweep.old_record import convert
from cyclegan_dist.sweep.record import Record, Trial
from cyclegan_dist.sweep.sampling import draw
from cyclegan_dist.tracking.journal import Journal
from tests.sweep.sweeps import make_record, make_sweep

SPEC = make_sweep(scheduler="asha", max_images=900, grace_images=100, num_trials=4)
TRIALS = (("finished", [0.9, 0.5]), ("cut", [1.0]), ("crashed", []), ("open", [0.2]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sweep.jsonl"


def test_a_record_is_read_as_it_was_written(path: Path) -> None:
    record = make_record(path, SPEC, *TRIALS)
    record.note(3, crashes=2)
    again = Record(path, SPEC)
    assert (again.key, again.trials) == (record.key, record.trials)
    assert [trial.status for trial in again.trials.values()] == ["finished", "cut", "crashed", "open"]
    assert again.trials[0].results == {100: 0.9, 200: 0.5}
    assert again.trials[3].crashes == 2


def test_a_value_counts_once_and_none_after_a_cut(path: Path) -> None:
    record = make_record(path, SPEC, ("open", []))
    assert [record.report(0, nimg, 1.0) for nimg in (10, 20, 10, 20, 30)] == [True, True, False, False, True]
    assert not record.report(0, 40, float("nan"))
    record.note(0, is_cut=True)
    assert not record.report(0, 50, 0.5)
    assert list(record.trials[0].results) == [10, 20, 30]


def test_a_process_may_die_at_any_byte(path: Path) -> None:
    """What is read then is what had been written, no trial is drawn otherwise, and the record can be continued."""
    record = make_record(path, SPEC, *TRIALS)
    whole, values = path.read_bytes(), [trial.values for trial in record.trials.values()]
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    seen: list[dict[int, Trial]] = []
    for end in ends:
        for size in (end, end + 1, end + 20):  # between two lines, and within one
            path.write_bytes(whole[:size])
            Path(f"{path}.lock").touch()
            opened = Record(path, SPEC)
            trials = dict(opened.trials)
            drawn = [draw(SPEC, number) for number in range(4)]
            assert [trial.values for trial in trials.values()] == drawn[: len(trials)] == values[: len(trials)]
            for number in range(len(trials), 4):
                opened.add(drawn[number])
            for number in range(4):
                opened.end(number, "finished")
            assert [trial.values for trial in Record(path, SPEC).trials.values()] == values
        seen.append(trials)
    assert seen[-1] == record.trials
    known = [(len(trials), sum(len(trial.results) for trial in trials.values())) for trials in seen]
    assert known == sorted(known)


def test_a_cut_trial_stays_cut_if_the_process_dies_before_its_end(path: Path) -> None:
    make_record(path, SPEC, ("open", [3.0])).note(0, is_cut=True)
    assert Record(path, SPEC).trials[0].status == "cut"


def test_damage_is_an_error_with_advice(path: Path) -> None:
    make_record(path, SPEC, *TRIALS)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], "garbage\n", *lines[3:]]))
    with pytest.raises(UsageError, match=r"sweep\.jsonl is damaged.*choose another --name"):
        Record(path, SPEC)


def test_a_full_disk_is_an_error_with_advice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_record(path, SPEC)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UsageError, match="No space left on device; free some space"):
        record.add(draw(SPEC, 0))


def test_a_record_from_before_optuna_is_converted(path: Path) -> None:
    spec = make_sweep(
        scheduler="asha",
        max_images=900,
        grace_images=100,
        num_trials=9,
        space={"lr": Values(uniform=(0, 1)), "betas": Values(choice=([0.5, 0.9], [0.9, 0.99]))},
    )
    values = {number: {"lr": 0.1 * number, "betas": [0.5, 0.9]} for number in range(4)}
    with Journal(path.parent) as journal:  # in the format of that time
        journal.write("sweep", key="sweep-0123")
        for number, drawn in values.items():
            journal.write("trial", trial=number, values=drawn)
        journal.write("result", trial=0, nimg=100, step=50, value=0.5)
        journal.write("result", trial=1, nimg=100, step=50, value=0.75)
        journal.write("cut", trial=1)
        journal.write("again", trial=0, text="rank 0 died")
        journal.write("result", trial=0, nimg=900, step=450, value=0.25)
        journal.write("end", trial=0, status="finished", text="")
        journal.write("end", trial=2, status="failed", text="a shard is gone")
    RunFolder(path.parent).journal.rename(path)
    with path.open("a") as file:
        file.write('{"kind": "end", "tri')  # it was killed
    expected = {
        0: Trial(0, values[0], {100: 0.5, 900: 0.25}, crashes=1, status="finished"),
        1: Trial(1, values[1], {100: 0.75}, is_cut=True, status="cut"),
        2: Trial(2, values[2], status="failed", text="a shard is gone"),
        3: Trial(3, values[3]),
    }
    for _ in range(2):  # once more changes nothing
        convert(path, spec)
        record = Record(path, spec)
        assert (record.key, record.trials) == ("sweep-0123", expected)
    record.report(3, 100, 0.6)
    assert record.is_behind(3)  # which it knows from the old results
