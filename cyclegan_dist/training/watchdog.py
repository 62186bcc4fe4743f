"""Bounds the time that a rank hangs: waiting for others, or where no exception reaches it, as in a read from dead
storage or in code that holds Python's lock.
"""

import contextlib
import faulthandler
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from cyclegan_dist.step.distributed import World

LONGER = 1.5  # than waiting for others may take, whose error says more


class Watchdog:
    """Lets ranks set up and do their first step, which compiles, in peace; from then on an exchange that others do not
    join is an error after `timeout_s` seconds, and a step that takes much longer ends this process and leaves where
    every thread was in `stacks-rank-N.txt` of the run's folder. Who started the ranks starts them again; without
    anyone who would (one process alone) nothing is watched.

    A context manager around the training loop.

    Args:
        run_dir: the run's folder.
        world: this rank among all.
        timeout_s: see above; a step may also take ten times the longest one so far.
    """

    def __init__(self, run_dir: Path, world: World, timeout_s: float):
        self._path = run_dir / f"stacks-rank-{world.rank}.txt"
        self._world, self._timeout_s, self._longest_s = world, timeout_s, 0.0
        self._file: TextIO | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the step in this block."""
        began = time.monotonic()
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
        self._longest_s = max(self._longest_s, time.monotonic() - began)

    def __enter__(self) -> "Watchdog":
        if self._world.supervised:
            self._file = self._path.open("a")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file:
            self._file.close()
            if not self._path.stat().st_size:  # it had nothing to say
                self._path.unlink()
