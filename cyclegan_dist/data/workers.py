"""Processes that read and encode images: those of this machine, and the order in which results come."""

import itertools
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from cyclegan_dist.data.stop_signals import end_with_parent
from cyclegan_dist.errors import UsageError

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 8  # chunks for each process that are computed or kept before their results are taken


class Workers:
    """Processes that do work on chunks of items.

    Args:
        count: of the processes.
        submit: starts `run_chunk` of a function and a list in one of them.
        result: waits for what `submit` has started.
    """

    def __init__(
        self, count: int, submit: Callable[[Callable[..., Any], list[Any]], Any], result: Callable[[Any], Any]
    ):
        self.count = count
        self._submit, self._result = submit, result

    def map(self, work: Callable[[T], R], items: Iterable[T], chunksize: int = 8) -> Iterator[R]:
        """The result for each item, in their order. A few chunks are computed ahead, so that memory does not grow with
        the number of items.
        """
        items, ahead = iter(items), deque[Any]()
        while chunk := list(itertools.islice(items, chunksize)):
            ahead.append(self._submit(work, chunk))
            if len(ahead) > AHEAD * self.count:
                yield from self._result(ahead.popleft())
        while ahead:
            yield from self._result(ahead.popleft())


class WorkersLostError(UsageError):
    """Processes that encode images have ended; what they have done stays, and the same command goes on after it."""


OpenWorkers = Callable[[int], AbstractContextManager[Workers]]
"""Starts so many processes for the duration of a block; 0: as many as there are cores."""


def refuse_unseen(workers: Workers, files: Mapping[str, Path]) -> None:
    """Check that all processes, which may be on other machines, have the folders.

    Args:
        workers: the processes.
        files: a file of each folder, by what the user calls the folder.

    Raises:
        UsageError: with a folder and a machine that does not have it.
    """
    for host, absent in workers.map(_absent, [files] * workers.count, chunksize=1):  # one for each process
        if absent:
            raise UsageError(f"{absent[0]} is not on the machine {host}: give folders on storage that all nodes share")


def _absent(files: Mapping[str, Path]) -> tuple[str, list[str]]:
    return socket.gethostname(), [given for given, path in files.items() if not os.path.lexists(path)]


def run_chunk(work: Callable[[Any], Any], chunk: list[Any]) -> list[Any]:
    """The results of `work` for a chunk, in one of the processes."""
    return [work(item) for item in chunk]


@contextmanager
def local_workers(count: int) -> Iterator[Workers]:
    """Processes of this machine. They end after what they are doing if an error ends the block."""
    count = count or os.cpu_count() or 1
    with ProcessPoolExecutor(count, initializer=_start_process) as pool:
        try:
            yield Workers(
                count, lambda work, chunk: pool.submit(run_chunk, work, chunk), lambda future: future.result()
            )
        except BrokenProcessPool as error:
            raise WorkersLostError(
                "a process that encodes images was killed, perhaps for want of memory: give fewer --workers, and run "
                "the same command again to continue"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the first process ends them
    end_with_parent()
    torch.set_num_threads(1)
