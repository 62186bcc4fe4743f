"""Ends a rank that hangs: waiting for other ranks, or where no exception can reach it, such as a read from dead storage
or code that holds the GIL.
"""

import contextlib
import faulthandler
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from cyclegan_dist.step.distributed import World
from cyclegan_dist.storage.layout import RunFolder

LONGER = 1.5  # than the timeout of exchanges, whose errors are clearer


class Watchdog:
    """After the first step, which may compile, sets the timeout of exchanges to `timeout_s` seconds. A step that takes
    much longer ends this process, with the stack of every thread in `stacks-rank-N.txt` of the run folder; the launcher
    then restarts the ranks. A single process, which nothing would restart, is not watched.

    A context manager around the training loop.

    Args:
        run_dir: the run folder.
        world: this rank among all.
        timeout_s: see above. The limit of a step is 1.5 times this, or ten times the longest step so far if that is
            more.
    """

    def __init__(self, run_dir: Path, world: World, timeout_s: float):
        self._path = RunFolder(run_dir).stacks(world.rank)
        self._world, self._timeout_s, self._longest_s = world, timeout_s, 0.0
        self._file: TextIO | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Limit the time of the step in this block."""
        started = time.monotonic()
        if self._file and self._longest_s:
            limit = max(LONGER * self._timeout_s, 10 * self._longest_s)
            faulthandler.dump_traceback_later(limit, exit=True, file=self._file)
        try:
            yield
        finally:
            if self._file and self._longest_s:
                faulthandler.cancel_dump_traceback_later()
        if not self._longest_s:
            self._world.limit_waiting(self._timeout_s)
        self._longest_s = max(self._longest_s, time.monotonic() - started)

    def __enter__(self) -> "Watchdog":
        if self._world.supervised:
            self._file = self._path.open("a")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file:
            self._file.close()
            if not self._path.stat().st_size:
                self._path.unlink()
