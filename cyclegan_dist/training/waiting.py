"""Waiting for data, and for checkpoints that are written, which a stop request or a timeout ends."""

import time
from collections.abc import Generator, Iterator

from cyclegan_dist.checkpoint.store import SaveTimeoutError
from cyclegan_dist.data.loader import Batch
from cyclegan_dist.data.loader_processes import LoaderError
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.watchdog import STOPPING_S, Watchdog

GRACE_S = 5.0  # for the batch that a rank waits for when it is asked to stop: other ranks may have theirs
SOONER = 0.9  # than the watchdog, which can only end the process


class StoppedWaitingError(Exception):
    """A stop request came while this rank waited for data."""


class WaitLimit:
    """`Waiting` for the data of a training.

    Args:
        stop: checked while this rank waits.
        watchdog: whose limit it keeps.
    """

    def __init__(self, stop: StopRequest, watchdog: Watchdog):
        self._stop, self._watchdog = stop, watchdog
        self._asked_s: float | None = None  # how long this rank had waited when it was asked to stop

    def __call__(self, waited_s: float) -> None:
        """Raise if this rank has waited for too long.

        Raises:
            StoppedWaitingError: if a stop was requested.
            LoaderError: if no data came in time.
        """
        if not self._stop.requested():
            self._asked_s = None
        elif self._asked_s is None or self._asked_s > waited_s:
            self._asked_s = waited_s
        elif waited_s - self._asked_s >= GRACE_S:
            raise StoppedWaitingError("stopped while waiting for data; training resumes from the last checkpoint")
        if waited_s >= SOONER * self._watchdog.limit_s:
            raise LoaderError(
                f"no data for {waited_s:.0f} s: does the storage of data.path answer? "
                "Raise world.timeout_s if it is that slow"
            )


class SaveLimit:
    """`CheckpointStore.waiting` of a training.

    Args:
        stop: checked while this rank waits.
        watchdog: that watches the hooks in which it waits.
        limit_s: seconds without progress of a save.
    """

    def __init__(self, stop: StopRequest, watchdog: Watchdog, limit_s: float):
        self._stop, self._watchdog, self._limit_s = stop, watchdog, limit_s
        self._asked: float | None = None  # when this rank noticed a stop request in the middle of a save that hangs

    def __call__(self, idle_s: float) -> None:
        """Raise if the save hangs.

        Raises:
            SaveTimeoutError: after the limit, or soon after a stop request.
        """
        self._watchdog.postpone()  # this rank does not hang: the limit is that of the save
        if idle_s >= self._limit_s:
            raise SaveTimeoutError(
                f"a checkpoint has made no progress for {idle_s:.0f} s: does the storage answer? Raise "
                "world.save_timeout_s if it is that slow; run the same command again to resume"
            )
        if idle_s < 1.0 or not self._stop.requested():
            self._asked = None
        elif self._asked is None:
            self._asked = time.monotonic()
        elif time.monotonic() - self._asked >= STOPPING_S:
            raise SaveTimeoutError(
                f"stopped without the last checkpoint, which has made no progress for {idle_s:.0f} s: does the storage "
                "answer?"
            )


def watched(loader: Iterator[Batch], watchdog: Watchdog) -> Generator[Batch]:
    """The loader's batches, waited for under the watchdog."""
    while True:
        with watchdog.waiting():
            batch = next(loader)
        yield batch
