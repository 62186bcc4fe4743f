"""Requests to stop, and to save a checkpoint: all ranks do so after the same step."""

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cyclegan_dist.checkpoint.fence import Fence, SupersededError
from cyclegan_dist.data.stop_signals import NEVER_AT_ONCE, STOP_SIGNALS, handle_stop_signals
from cyclegan_dist.storage.layout import RunFolder

if TYPE_CHECKING:
    from cyclegan_dist.step.distributed import World  # loads torch, which would delay a launcher's errors


class StopRequest:
    """Set by one of `STOP_SIGNALS` to this process, or by the file `STOP` in the run folder, which the launcher writes
    for remote ranks. An early end, which rank 0 may decide on, is agreed in the same way, and so is a checkpoint, for
    which the file `SAVE` asks.

    The ranks exchange it about once every `interval_s` seconds, so that short steps are not slowed: each exchange also
    carries the number of steps until the next one, which rank 0 derives from its clock.

    Attributes:
        signal: that was received, or 0.
        ends_early: whether all ranks have agreed to end the run here as finished, before its schedule ends.
        saves: whether all ranks have agreed to save a checkpoint here.
    """

    def __init__(self, run_dir: Path, world: "World", *, interval_s: float = 1.0):
        self._file, self._world, self._interval_s = RunFolder(run_dir).stop, world, interval_s
        self._save_file = RunFolder(run_dir).save
        self.signal = 0
        self.ends_early = self.saves = False
        self._wants_end = False
        self._next_step, self._last = 0, (-1, 0.0)
        self._arrived: int | None = None  # the end of a pipe

    def listen(self) -> None:
        """Handle `STOP_SIGNALS`; a second SIGTERM or SIGINT has its default effect."""
        handle_stop_signals(self._on_signal)
        # Python's handlers run in the main thread, which may be in a call that never returns.
        self._arrived, numbers = os.pipe()
        os.set_blocking(self._arrived, False)
        os.set_blocking(numbers, False)
        signal.set_wakeup_fd(numbers, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a child's signals are its own

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        signal.signal(number, signal.SIG_IGN if number in NEVER_AT_ONCE else signal.SIG_DFL)

    def arrived(self) -> int:
        """The signal that was received, or 0; also from another thread while the main thread hangs."""
        if not self.signal and self._arrived is not None:
            try:
                numbers = [number for number in os.read(self._arrived, 1024) if number in STOP_SIGNALS]
            except BlockingIOError:
                return 0
            self.signal = numbers[0] if numbers else 0
        return self.signal

    def end_early(self) -> None:
        """End the run as finished after one of the next steps. Rank 0 calls it."""
        self._wants_end = True

    def requested(self) -> bool:
        """Whether this rank knows of a stop request, which the others may not know yet."""
        return bool(self.signal) or self._file_exists()

    def _file_exists(self) -> bool:
        return os.path.exists(self._file)  # False where `Path.exists` raises: a folder that cannot be read now

    def agreed(self, step: int, fence: Fence | None = None) -> bool:
        """Whether all ranks must stop after `step`, or end early there. Every rank must call it after every step.

        Raises:
            SupersededError: on all ranks, if another attempt has taken over the run.
        """
        self.saves = False
        if step < self._next_step:
            return False
        last_step, last_time = self._last
        now, steps = time.monotonic(), 1
        if last_step >= 0:  # the speed is unknown before the first exchange, also after a resume
            steps = max(1, min(1000, round(self._interval_s * (step - last_step) / max(1e-6, now - last_time))))
        requested = self.signal or (self._world.is_first and self._file_exists())
        lost = self._world.is_first and fence is not None and fence.lost()
        save = self._world.is_first and os.path.exists(self._save_file)
        mine = (bool(requested), lost, steps * self._world.is_first, self._wants_end, save)
        stop, superseded, ahead, end, saves = self._world.max([float(one) for one in mine])
        if superseded:
            raise SupersededError("another attempt has taken over the run")
        self._next_step, self._last = step + int(ahead), (step, now)
        self.ends_early, self.saves = bool(end) and not stop, bool(saves)
        if save:
            self._save_file.unlink(missing_ok=True)
        return bool(stop or end)
