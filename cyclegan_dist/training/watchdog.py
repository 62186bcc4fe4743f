"""Ends a rank that hangs: waiting for data or for other ranks, or where no exception can reach it, such as a read from
dead storage, a write to it, or code that holds the GIL.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from cyclegan_dist.step.distributed import SETTING_UP, World
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.training.write_limit import RESUME, hang_message

STOPPING_S = 20.0  # for a write that hangs when the run is to stop: clusters kill what has not ended after 30 s
STACKS_S = 2.0  # for writing stacks, to storage that may hang too
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
        save_timeout_s: limit of writing files; the process ends then, whether something would restart it or not.
        stop_signal: the signal that asked this process to stop, or 0. A write ends soon after it.
    """

    def __init__(
        self,
        run_dir: Path,
        world: World,
        timeout_s: float,
        save_timeout_s: float = 600.0,
        stop_signal: Callable[[], int] = lambda: 0,
    ):
        self._run_dir, self._save_timeout_s, self._stop_signal = run_dir, save_timeout_s, stop_signal
        self._saving: list[float] | None = None  # seconds left for a write, and seconds left after a signal
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
    def saving(self) -> Iterator[None]:
        """Limit the time of the writes in this block."""
        self.postpone(begins=True)
        try:
            yield
        finally:
            self._saving = None

    def postpone(self, *, begins: bool = False) -> None:
        """Start the limit of `saving` anew, where something else limits what this rank waits for."""
        if begins or self._saving is not None:
            self._saving = [self._save_timeout_s, STOPPING_S]

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
        """Watch writes, and the steps of a single process, from a thread. Unlike that of faulthandler, it does not
        count time in which the process is suspended.
        """
        while not self._closed.wait(TICK_S):
            if (left := self._left) is not None:
                left[0] -= TICK_S
                if left[0] <= 0:
                    text = f"training has hung for {self.limit_s:.0f} s; its stacks are in {self._path}; {RESUME}"
                    self._exit(text, file, 1)
            if (saving := self._saving) is not None:
                saving[0] -= TICK_S
                number = self._stop_signal()
                saving[1] -= TICK_S if number else 0.0
                if saving[0] <= 0:
                    self._exit(hang_message(self._run_dir, self._save_timeout_s), file, 1)
                if saving[1] <= 0:
                    text = f"stopped while writing to {self._run_dir} hangs: does the storage answer? {RESUME}"
                    self._exit(text, file, 128 + number)

    def _exit(self, text: str, file: TextIO, code: int) -> None:
        print(f"error: {text}", file=sys.stderr, flush=True)
        stacks = threading.Thread(target=faulthandler.dump_traceback, args=(file,), daemon=True)
        stacks.start()
        stacks.join(STACKS_S)
        for child in multiprocessing.active_children():  # loader processes that hang too would stay
            child.kill()
        os._exit(code)

    def __enter__(self) -> "Watchdog":
        self._file = self._path.open("a")
        threading.Thread(target=self._count_down, args=(self._file,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed.set()
        if self._file:
            self._file.close()
            with contextlib.suppress(OSError):  # an empty file that stays is no reason to fail
                if not self._path.stat().st_size:
                    self._path.unlink()
