"""Progress of a sweep: a live table on a terminal, elsewhere lines, each with the name of its trial or sweep first."""

import threading
import time
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cyclegan_dist.sweep.config import SweepConfig
from cyclegan_dist.sweep.record import Trial
from cyclegan_dist.sweep.results import described, number, ranked, table

PAUSE_S = 30.0  # between two lines that say how far everything is


def time_left(seconds: float, done: float, left: float) -> str:
    """What is left, after a comma, if `done` took so many seconds: `, about 5 min left`. Empty if nothing is done."""
    if done <= 0:
        return ""
    left_s = seconds / done * left
    for unit, length in (("h", 3600), ("min", 60)):
        if left_s >= 1.5 * length:
            return f", about {left_s / length:.0f} {unit} left"
    return f", about {left_s:.0f} s left"


class SweepProgress:
    """Shows a sweep's trials. A context manager.

    Args:
        spec: the sweep.
        trials: its trials by number, which the sweep changes.
        console: where to print.
        images: that a trial sees until it ends; 0: unknown, then only whole trials count for the time left.
    """

    def __init__(self, spec: SweepConfig, trials: Mapping[int, Trial], console: Console, images: int = 0):
        self.spec, self.trials, self.console, self.images = spec, trials, console, images or spec.max_images
        self._running: dict[int, int] = {}  # images of each
        self._begun, self._ended_before = time.monotonic(), self._ended
        self._done_before: dict[int, float] = {}  # shares of resumed trials
        self._is_over = threading.Event()
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "SweepProgress":
        if self.console.is_terminal:
            self._live.start()
        else:
            threading.Thread(target=self._print_repeatedly, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._live.stop()

    def started(self, trial: Trial) -> None:
        """A trial begins, or is resumed."""
        self._running[trial.number] = trial.nimg
        self._done_before[trial.number] = self._share(trial.nimg)
        self._print(trial, "continues" if trial.results else "starts", described(trial.values))

    def reported(self, trial: Trial, nimg: int) -> None:
        """A trial has seen so many images."""
        self._running[trial.number] = nimg

    def crashed(self, trial: Trial, text: str) -> None:
        """A trial crashed and is restarted."""
        self._print(trial, "crashed, restarting", text)

    def ended(self, trial: Trial) -> None:
        """A trial ended, or was interrupted."""
        where = self._where(trial)
        self._running.pop(trial.number, None)
        self._print(trial, "interrupted" if trial.status == "open" else trial.status, f"{where} {trial.text}".strip())

    def summary(self) -> str:
        """How far everything is."""
        running = [f"{self.trials[n].name} {self._where(self.trials[n])}" for n in sorted(list(self._running))]
        return f"{self.spec.name}: {self._counted()}; {', '.join(running) or 'no trial runs'}"

    @property
    def _ended(self) -> int:
        return sum(trial.status != "open" for trial in list(self.trials.values()))

    def _share(self, nimg: int) -> float:
        return min(1.0, nimg / self.images) if self.images else 0.0

    def _counted(self) -> str:
        """Ended trials, and the time left if the rest is as quick as what was done since the start."""
        running = sum(map(self._share, list(self._running.values())))
        done = self._ended - self._ended_before + running - sum(self._done_before.values())
        left = time_left(time.monotonic() - self._begun, done, self.spec.trials - self._ended - running)
        return f"{self._ended} of {self.spec.trials} ended{left if self._ended < self.spec.trials else ''}"

    def _where(self, trial: Trial) -> str:
        of_all = f"/{self.images}" if self.images else ""
        metric = f" {self.spec.metric} {number(trial.value)}" if self.spec.metric else ""
        return f"images {self._running.get(trial.number, 0)}{of_all}{metric}"

    def _print(self, trial: Trial, what: str, more: str) -> None:
        if not self.console.is_terminal:
            self._line(f"{trial.name} {what}: {more} [{self._counted()}]")

    def _print_repeatedly(self) -> None:
        while not self._is_over.wait(PAUSE_S):
            self._line(self.summary())

    def _line(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def _table(self) -> Table:
        """The best so far and those that run, as many as fit."""
        trials = list(self.trials.values())
        running = [trial for trial in trials if trial.number in self._running]
        room = max(1, self.console.height - len(running) - 6)
        ended = [trial for trial in ranked(self.spec, trials) if trial.number not in self._running]
        return table(
            self.console, self.spec, [*ended[:room], *running], f"{self.spec.name}: {self._counted()}", self._running
        )
