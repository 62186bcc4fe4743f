import resource
import signal
import threading
from pathlib import Path

import pytest

from cyclegan_dist.tracking.journal import JOURNAL, Journal, follow, read_records


def steps(run_dir: Path) -> list[int]:
    return [record["step"] for record, _ in read_records(run_dir / JOURNAL, 0) if record["kind"] == "metrics"]


def test_a_partial_line_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write("metrics", step=1)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"kind": "metrics", "st')
    assert steps(tmp_path) == [1]
    with Journal(tmp_path) as journal:
        journal.write("metrics", step=2)
    assert steps(tmp_path) == [1, 2]


def test_repeated_steps_of_a_resumed_run_are_recorded_once(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write("metrics", step=10)
    with Journal(tmp_path) as journal:
        journal.write("run", config={})
        journal.write("metrics", step=5)
        journal.write("metrics", step=10)
        journal.write("metrics", step=15)
    assert steps(tmp_path) == [10, 15]


def test_following_yields_appended_records_until_done(tmp_path: Path) -> None:
    done, seen = threading.Event(), []

    def read() -> None:
        seen.extend(record["step"] for record, _ in follow(tmp_path / JOURNAL, 0, done, poll_s=0.01))

    reader = threading.Thread(target=read)
    reader.start()
    with Journal(tmp_path) as journal:
        for step in range(50):
            journal.write("metrics", step=step)
        done.set()
    reader.join(5)
    assert seen == list(range(50))


def test_following_starts_at_the_offset(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for step in range(3):
            journal.write("metrics", step=step)
    done = threading.Event()
    done.set()
    _, offset = next(iter(read_records(tmp_path / JOURNAL, 0)))
    assert [record["step"] for record, _ in follow(tmp_path / JOURNAL, offset, done)] == [1, 2]


def test_invalid_lines_are_skipped(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write("metrics", step=1)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b"\0\0\xff\n[1]\n")
    with Journal(tmp_path) as journal:
        journal.write("metrics", step=2)
    assert steps(tmp_path) == [1, 2]


def test_kinds_of_records_are_counted_separately(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write("metrics", step=10)
    with Journal(tmp_path) as journal:
        journal.write("metrics", step=10)
        journal.write("image", step=10)
    assert [record["kind"] for record, _ in read_records(tmp_path / JOURNAL, 0)] == ["metrics", "image"]


def test_a_full_disk_loses_whole_records_and_does_not_stop_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with Journal(tmp_path) as journal:
            journal.write("metrics", step=1)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
            journal.write("metrics", step=2, values={"x": "y" * 100})
            journal.write("metrics", step=3, values={"x": "y" * 100})
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            journal.write("metrics", step=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert steps(tmp_path) == [1, 4]
    assert capsys.readouterr().err.count("free some space") == 1
