"""Stopping between two steps, on all ranks at the same one."""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cyclegan_dist.checkpoint.fence import Fence, SupersededError

if TYPE_CHECKING:
    from cyclegan_dist.step.distributed import World  # loads torch, which takes longer than a launcher's refusal should

FILE = "STOP"


class StopRequest:
    """Set by SIGTERM or SIGINT to this process, or by a file `STOP` in the run's folder (the launcher's way to reach
    remote ranks).

    Ranks agree by one small exchange about once a second: the exchange also carries the number of steps until the next
    one, which rank 0 chooses by the clock, so that it costs short steps nothing.
    """

    def __init__(self, run_dir: Path, world: "World", *, interval_s: float = 1.0):
        self._file, self._world, self._interval_s = run_dir / FILE, world, interval_s
        self.signal = 0
        self._next_step, self._looked = 0, (-1, 0.0)

    def listen(self) -> None:
        """Take SIGTERM and SIGINT; a second one acts as if nobody listened."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)

    def agreed(self, step: int, fence: Fence | None = None) -> bool:
        """Whether all ranks are to stop after `step`. Every rank must ask after every step.

        Raises:
            SupersededError: on all ranks, if another attempt has taken over the run.
        """
        if step < self._next_step:
            return False
        last_step, last_time = self._looked
        now, steps = time.monotonic(), 1
        if last_step >= 0:  # before the first look, also after a resume, there is no pace to go by
            steps = max(1, min(1000, round(self._interval_s * (step - last_step) / max(1e-6, now - last_time))))
        asked = self.signal or (self._world.is_first and self._file.exists())
        lost = self._world.is_first and fence is not None and fence.lost()
        mine = [float(bool(asked)), float(lost), float(steps * self._world.is_first)]
        stop, superseded, ahead = self._world.max(mine)
        if superseded:
            raise SupersededError("another attempt has taken over the run")
        self._next_step, self._looked = step + int(ahead), (step, now)
        return bool(stop)
