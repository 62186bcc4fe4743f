"""Ends a rank that hangs: waiting for data or for other ranks, or where no exception can reach it, such as a read from
dead storage or code that holds the GIL.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from cyclegan_dist.step.distributed import SETTING_UP, World
from cyclegan_dist.storage.layout import RunFolder

LONGER = 1.5  # than the timeout of exchanges, whose errors are clearer
TICK_S = 0.5


class Watchdog:
    """After the first step, which may compile, sets the timeout of exchanges to `timeout_s` seconds. A step that takes
    much longer ends this process, with the stack of every thread in `stacks-rank-N.txt` of the run folder; the launcher
    then restarts the ranks. In the first step waiting for data alone is limited.

    A context manager around the training loop.

    Args:
        run_dir: the run folder.
        world: this rank among all.
        timeout_s: see above. The limit of a step is 1.5 times this, or ten times the longest step so far if that is
            more. Ten times this is the limit for the first data, and the least one for the steps of a single process,
            which nothing would restart; time in which that is suspended does not count.
    """

    def __init__(self, run_dir: Path, world: World, timeout_s: float):
        self._path = RunFolder(run_dir).stacks(world.rank)
        self._world, self._timeout_s, self._longest_s = world, timeout_s, 0.0
        self._file: TextIO | None = None
        self._closed = threading.Event()
        self._left: list[float] | None = None  # seconds, of a single process; a list of its own for each step

    @property
    def limit_s(self) -> float:
        """The limit of the step, or of the wait for the first data, in seconds."""
        if not self._longest_s:
            return SETTING_UP * self._timeout_s
        least = LONGER if self._world.supervised else SETTING_UP
        return max(least * self._timeout_s, 10 * self._longest_s)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Limit the time of the step in this block."""
        started = time.monotonic()
        with self._limited() if self._longest_s else contextlib.nullcontext():
            yield
        if not self._longest_s:
            self._world.limit_waiting(self._timeout_s)
        self._longest_s = max(self._longest_s, time.monotonic() - started)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Limit the wait for data in this block, which is part of a step."""
        with contextlib.nullcontext() if self._longest_s else self._limited():
            yield

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        if self._file is None:
            yield
        elif self._world.supervised:
            faulthandler.dump_traceback_later(self.limit_s, exit=True, file=self._file)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
        else:
            self._left = [self.limit_s]
            try:
                yield
            finally:
                self._left = None

    def _count_down(self, file: TextIO) -> None:
        """Watch a single process, from a thread. Unlike that of faulthandler, it does not count time in which the
        process is suspended.
        """
        while not self._closed.wait(TICK_S):
            if (left := self._left) is None:
                continue
            left[0] -= TICK_S
            if left[0] <= 0:
                faulthandler.dump_traceback(file)
                text = f"error: training has hung for {self.limit_s:.0f} s; its stacks are in {self._path}; "
                print(f"{text}run the same command again to resume", file=sys.stderr, flush=True)
                for child in multiprocessing.active_children():  # loader processes that hang too would stay
                    child.kill()
                os._exit(1)

    def __enter__(self) -> "Watchdog":
        self._file = self._path.open("a")
        if not self._world.supervised:
            threading.Thread(target=self._count_down, args=(self._file,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed.set()
        if self._file:
            self._file.close()
            if not self._path.stat().st_size:
                self._path.unlink()
