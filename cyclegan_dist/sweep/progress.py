"""Progress of a sweep: a live table on a terminal, lines elsewhere, each beginning with its trial's name."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cyclegan_dist.sweep.config import SweepConfig
from cyclegan_dist.sweep.record import Trial
from cyclegan_dist.sweep.results import described, number, ranked, table

PAUSE_S = 10.0  # between two lines of a trial that merely continues


class SweepProgress:
    """Shows a sweep's trials. A context manager."""

    def __init__(self, spec: SweepConfig, trials: Mapping[int, Trial], console: Console):
        self.spec, self.trials, self.console = spec, trials, console
        self._running: dict[int, int] = {}  # images of each
        self._printed: dict[int, float] = {}  # when each had its last line
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "SweepProgress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def started(self, trial: Trial) -> None:
        """A trial begins, or is resumed."""
        self._running[trial.number] = trial.nimg
        self._print(trial, "continues" if trial.results else "starts", described(trial.values))

    def reported(self, trial: Trial, nimg: int) -> None:
        """A trial has seen so many images."""
        self._running[trial.number] = nimg
        now = time.monotonic()
        if now - self._printed.setdefault(trial.number, now) >= PAUSE_S:
            self._printed[trial.number] = now
            self._print(trial, "runs", self._where(trial))

    def crashed(self, trial: Trial, text: str) -> None:
        """A trial crashed and is restarted."""
        self._print(trial, "crashed, restarting", text)

    def ended(self, trial: Trial) -> None:
        """A trial ended, or was interrupted."""
        where = self._where(trial)
        self._running.pop(trial.number, None)
        self._print(trial, "interrupted" if trial.status == "open" else trial.status, f"{where} {trial.text}".strip())

    def _where(self, trial: Trial) -> str:
        of_all = f"/{self.spec.max_images}" if self.spec.max_images else ""
        return f"images {self._running.get(trial.number, 0)}{of_all} {self.spec.metric} {number(trial.value)}"

    def _print(self, trial: Trial, what: str, more: str) -> None:
        if not self.console.is_terminal:
            ended = sum(t.status != "open" for t in self.trials.values())
            line = f"{trial.name} {what}: {more} [{ended}/{self.spec.trials} ended]"
            self.console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _table(self) -> Table:
        """The best so far and those that run, as many as fit."""
        trials = list(self.trials.values())
        running = [trial for trial in trials if trial.number in self._running]
        room = max(1, self.console.height - len(running) - 6)
        ended = [trial for trial in ranked(self.spec, trials) if trial.number not in self._running]
        title = f"{self.spec.name}: {len(trials) - len(running)} of {self.spec.trials} trials ended"
        return table(self.console, self.spec, [*ended[:room], *running], title, self._running)
