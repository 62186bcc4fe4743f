"""A sweep for whoever watches: a live table on a terminal, lines elsewhere, each with its trial's name in front."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cyclegan_dist.sweep.record import Trial
from cyclegan_dist.sweep.results import described, number, ranked, table
from cyclegan_dist.sweep.spec import SweepConfig

PAUSE_S = 10.0  # between two lines of a trial that merely goes on


class SweepProgress:
    """Shows a sweep's trials. A context manager."""

    def __init__(self, spec: SweepConfig, trials: Mapping[int, Trial], console: Console):
        self.spec, self.trials, self.console = spec, trials, console
        self._running: dict[int, int] = {}  # images of each
        self._spoke: dict[int, float] = {}
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "SweepProgress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def started(self, trial: Trial) -> None:
        """A trial begins, or goes on."""
        self._running[trial.number] = trial.nimg
        self._say(trial, "continues" if trial.results else "starts", described(trial.values))

    def told(self, number: int, nimg: int) -> None:
        """A trial has seen so many images."""
        self._running[number] = nimg
        now = time.monotonic()
        if now - self._spoke.get(number, now - PAUSE_S) >= PAUSE_S:
            self._spoke[number] = now
            self._say(self.trials[number], "runs", self._where(number))

    def again(self, trial: Trial, text: str) -> None:
        """A trial crashed and is started again."""
        self._say(trial, "crashed, starts again", text)

    def ended(self, trial: Trial) -> None:
        """A trial ended, or was interrupted."""
        where = self._where(trial.number)
        self._running.pop(trial.number, None)
        status = "interrupted" if trial.status == "open" else trial.status
        self._say(trial, status, f"{where} {trial.text}".strip())

    def _where(self, number_of_trial: int) -> str:
        nimg, trial = self._running.get(number_of_trial, 0), self.trials[number_of_trial]
        return f"images {nimg}{self._of_all} {self.spec.metric} {number(trial.value)}"

    @property
    def _of_all(self) -> str:
        return f"/{self.spec.max_images}" if self.spec.max_images else ""

    def _say(self, trial: Trial, what: str, more: str) -> None:
        if not self.console.is_terminal:
            ended = sum(t.status != "open" for t in self.trials.values())
            line = f"{trial.name} {what}: {more} [{ended}/{self.spec.trials} ended]"
            self.console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _table(self) -> Table:
        """The best so far, and who runs, as many as fit."""
        trials = list(self.trials.values())
        running = [trial for trial in trials if trial.number in self._running]
        room = max(1, self.console.height - len(running) - 6)
        ended = [trial for trial in ranked(self.spec, trials) if trial.number not in self._running]
        title = f"{self.spec.name}: {len(trials) - len(running)} of {self.spec.trials} trials ended"
        return table(self.console, self.spec, [*ended[:room], *running], title, self._running)
