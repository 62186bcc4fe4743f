"""Worker processes that fail, hang and get signals, and their sockets."""

import itertools
import multiprocessing
import multiprocessing.util
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.utils.data import DataLoader

from cyclegan_dist.data.loader_processes import (
    POLL_S,
    LoaderError,
    set_up_worker,
    stream_batches,
    use_short_socket_folder,
)
from cyclegan_dist.data.reader import DataError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import lock

DIED = r"DataLoader worker \(pid.*; if the machine is short of memory, lower data.workers$"


class Doing:
    """A data set of whose samples the second does something."""

    def __init__(self, action: Callable[[], Any]):
        self.action = action

    def __getitem__(self, index: int) -> Any:
        return torch.full((4,), index) if index != 1 else self.action()


def stream(action: Callable[[], Any], **options: Any) -> Iterator[Any]:
    loader = DataLoader(
        Doing(action),  # pyright: ignore
        sampler=itertools.count(),  # pyright: ignore
        batch_size=None,
        num_workers=1,
        worker_init_fn=set_up_worker,
        timeout=POLL_S,
    )
    return stream_batches(loader, **options)


def raises(error: Exception) -> Callable[[], Any]:
    def action() -> Any:
        raise error

    return action


class Unsendable:
    def __reduce__(self) -> Any:
        raise OSError("AF_UNIX path too long")


@pytest.mark.parametrize(
    ("action", "error", "text"),
    [
        (raises(DataError("shard A/0.tar is gone")), DataError, "^shard A/0.tar is gone$"),
        (raises(KeyError("depth")), LoaderError, "^the loader's processes failed: KeyError: 'depth'$"),
        (raises(MemoryError()), LoaderError, "^the loader's processes failed: MemoryError: "),
        (Unsendable, LoaderError, "^the loader's processes failed: OSError: AF_UNIX path too long$"),
        (lambda: os._exit(3), LoaderError, DIED),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), LoaderError, DIED),
    ],
)
def test_an_error_of_a_worker_or_of_the_thread_that_sends_is_one_line(
    action: Callable[[], Any], error: type[Exception], text: str
) -> None:
    batches = stream(action)
    with pytest.raises(error, match=text) as found:
        list(batches)
    assert "\n" not in str(found.value)
    assert not multiprocessing.active_children()


def test_waiting_for_a_worker_that_hangs_can_be_ended_and_the_worker_too() -> None:
    waited: list[float] = []

    def waiting(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise TimeoutError("enough")

    started = time.monotonic()
    batches = stream(lambda: time.sleep(60), waiting=waiting)
    assert int(next(batches)[0]) == 0
    with pytest.raises(TimeoutError, match="enough"):
        next(batches)
    assert waited == [1.0, 2.0]
    assert not multiprocessing.active_children()
    assert time.monotonic() - started < 20


def test_a_slow_worker_only_takes_time() -> None:
    assert [
        int(batch[0])
        for batch in itertools.islice(stream(lambda: (time.sleep(1.5), torch.ones(4, dtype=torch.long))[1]), 4)
    ] == [0, 1, 2, 3]


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_end_with_a_killed_rank_and_do_not_hold_its_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)

    def rank() -> None:
        with lock(tmp_path / "lock"):
            batches = stream(lambda: time.sleep(60))  # where torch's own worker does not look for its parent
            next(batches)
            sending.send([worker.pid for worker in multiprocessing.active_children()])
            next(batches)

    process = context.Process(target=rank)
    process.start()
    sending.close()
    (worker,) = receiving.recv()
    with pytest.raises(UsageError), lock(tmp_path / "lock"):
        pass
    process.kill()
    process.join()
    with lock(tmp_path / "lock"):
        pass
    limit = time.monotonic() + 1
    while is_running(worker) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not is_running(worker)


@pytest.fixture
def long_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)  # type: ignore[attr-defined]
    return folder


def test_sockets_do_not_fit_into_a_long_temporary_folder(long_folder: Path) -> None:
    with pytest.raises(LoaderError, match="AF_UNIX path too long"):
        list(stream(lambda: torch.ones(4)))


def test_sockets_are_kept_in_a_short_folder(long_folder: Path) -> None:
    use_short_socket_folder()
    assert multiprocessing.util.get_temp_dir().startswith("/tmp/pymp-")
    assert tempfile.gettempdir() == str(long_folder)
    assert len(list(itertools.islice(stream(lambda: torch.ones(4)), 4))) == 4
