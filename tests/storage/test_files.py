import errno
import fcntl
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import LONGEST_NAME, atomic, is_locked, lock, sync, write_atomic
from tests.faults.forked_processes import in_fork, kill_at


def failing(call: Callable[..., object], number: int, where: Callable[[int], bool]) -> Callable[..., object]:
    """`call`, which fails with an error for the descriptors or paths that `where` is true for."""

    def fail(first: int, *rest: object) -> object:
        if where(first):
            raise OSError(number, os.strerror(number))
        return call(first, *rest)

    return fail


def is_folder(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").is_dir()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", ["ä\n", b"\0\xff"])
def test_content_is_replaced(tmp_path: Path, content: str | bytes) -> None:
    for before in (None, b"old"):
        if before is not None:
            (tmp_path / "file").write_bytes(before)
        write_atomic(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == (content if isinstance(content, bytes) else content.encode())
        assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("stage", [(os, "fsync"), (os, "replace")])
def test_a_killed_write_leaves_the_old_file_and_the_next_one_its_draft(
    tmp_path: Path, stage: tuple[object, str]
) -> None:
    (tmp_path / "file").write_text("old")

    def write() -> None:
        kill_at(0, stage)
        write_atomic(tmp_path / "file", "new")

    assert in_fork(write) == -signal.SIGKILL
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == [".file", "file"]
    write_atomic(tmp_path / "file", "newer")
    assert (tmp_path / "file").read_text() == "newer"
    assert names(tmp_path) == ["file"]


def test_the_folder_is_flushed_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: (calls.append("folder" if is_folder(d) else "file"), fsync(d)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), replace(a, b)))
    write_atomic(tmp_path / "file", "new")
    assert calls == ["file", "rename", "folder"]
    with atomic(tmp_path / "file", durable=False) as draft:
        draft.write_text("newer")
    assert calls == ["file", "rename", "folder", "rename"]


def test_an_exception_removes_the_draft_and_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "file") as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "old"


def test_a_failed_flush_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", failing(os.fsync, errno.EIO, lambda descriptor: True))
    with pytest.raises(OSError, match="Input/output error"):
        write_atomic(tmp_path / "file", "new")
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_file_systems_that_cannot_flush_folders_are_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, number, is_folder))
    write_atomic(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    sync(tmp_path)


def test_a_link_at_the_place_of_the_draft_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / ".file").symlink_to(tmp_path / "other")
    write_atomic(tmp_path / "file", "new")
    assert (tmp_path / "other").read_text() == "other"
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.parametrize("name", ["a" * LONGEST_NAME, "ä" * 127, "a" * 251 + ".png", "a." + "b" * 253])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with atomic(path, writer="rank-0-") as draft:
        draft.write_text("new")
        assert len(os.fsencode(draft.name)) <= LONGEST_NAME
        assert draft.suffix == path.suffix or len(path.suffix) > 15
    assert path.read_text() == "new" and names(tmp_path) == [name]


def test_writers_do_not_share_drafts(tmp_path: Path) -> None:
    with atomic(tmp_path / "file", writer="a-") as one, atomic(tmp_path / "file", writer="b-") as two:
        one.write_text("a"), two.write_text("b")
    assert (tmp_path / "file").read_text() == "a"  # the last rename wins


def test_a_held_lock_is_reported_and_free_again_afterwards(tmp_path: Path) -> None:
    for held, message in (("run x is in training", "^run x is in training$"), ("", "is locked by another process")):
        with (
            lock(tmp_path / "lock"),
            pytest.raises(UsageError, match=message),
            lock(tmp_path / "lock", held=held),
        ):
            pass
    with lock(tmp_path / "lock"):
        pass


def test_whether_a_lock_is_held_can_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    with lock(path):
        assert is_locked(path)
    assert not is_locked(path)
    monkeypatch.setattr(fcntl, "flock", failing(fcntl.flock, errno.ENOLCK, lambda _: True))
    assert not is_locked(path)


def test_asking_does_not_refuse_a_process_that_takes_the_lock_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "lock").open("w") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        monkeypatch.setattr("time.sleep", lambda seconds: fcntl.flock(asking, fcntl.LOCK_UN))
        with lock(tmp_path / "lock"):
            pass


def test_a_killed_process_frees_its_lock(tmp_path: Path) -> None:
    def die() -> None:
        with lock(tmp_path / "lock"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_fork(die) == -signal.SIGKILL
    with lock(tmp_path / "lock"):
        pass


def test_a_forked_process_does_not_hold_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    started, end = context.Event(), context.Event()
    child = context.Process(target=lambda: (started.set(), end.wait()))
    try:
        with lock(tmp_path / "lock"):
            child.start()
            assert started.wait(10)
            with pytest.raises(UsageError), lock(tmp_path / "lock"):
                pass  # the fork did not free it
        with lock(tmp_path / "lock"):
            assert child.is_alive()
    finally:
        end.set()
        child.join()


def test_a_process_forked_within_the_block_may_leave_it(tmp_path: Path) -> None:
    def leave() -> None:
        with lock(tmp_path / "lock"):
            child = os.fork()
            if child == 0:
                other = os.open(os.devnull, os.O_RDONLY)  # may get the number of the descriptor that the fork closed
            else:
                os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os.fstat(other)
        os._exit(7)

    assert in_fork(leave) == 7


def test_waiting_is_announced_once_and_ends_when_the_lock_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = (tmp_path / "lock").open("w")
    fcntl.flock(holder, fcntl.LOCK_EX)
    flock = fcntl.flock

    def release(file: object, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            holder.close()
        flock(file, operation)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", release)
    with lock(tmp_path / "lock", held="waiting for another sender", wait=True):
        assert holder.closed
    assert capsys.readouterr().err == "waiting for another sender\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
@pytest.mark.parametrize("wait", [False, True])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, wait: bool
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(fcntl.flock, number, lambda file: True))
    with pytest.raises(UsageError) as error, lock(tmp_path / "lock", held="held", wait=wait):
        pass
    assert str(error.value).startswith(f"{tmp_path}/lock cannot be locked: ")
    assert "choose a folder on a file system with file locks" in str(error.value) and "\n" not in str(error.value)


def test_an_error_inside_the_block_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="inside"), lock(tmp_path / "lock"):
        raise OSError(errno.ENOSYS, "inside")
