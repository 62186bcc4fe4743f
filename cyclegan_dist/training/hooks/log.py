"""Records of losses and speed, averaged over all ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from cyclegan_dist.step.distributed import World
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.hooks.progress import Progress
from cyclegan_dist.training.hooks.rank_times import RankTimes


class LogWindow:
    """Sums over the steps since the last record that was due, on this rank. Scalars stay on the device.

    A hook before those that save: a checkpoint holds the sums with those of its own step, so that a resumed run logs
    the means that an uninterrupted one does.

    Args:
        every: images between two records.
    """

    def __init__(self, every: int):
        self.every = every
        self._sums: dict[str, Tensor | float] = {}
        self._steps, self._total_s, self._wait_s = 0, 0.0, 0.0
        self._rates: Mapping[str, float] = {}
        self._due = False

    def __call__(self, at: Progress) -> None:
        if self._due:
            self._sums, self._steps, self._total_s, self._wait_s = {}, 0, 0.0, 0.0
        for name, value in at.losses.items():
            self._sums[name] = self._sums.get(name, 0) + value
        self._steps, self._total_s, self._wait_s = self._steps + 1, self._total_s + at.step_s, self._wait_s + at.wait_s
        self._rates, self._due = at.learning_rates, at.due(self.every)

    def end(self, at: Progress) -> None:
        """Nothing to do."""

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: the sums of this rank, without measured times, which differ between equal runs."""
        return {"sums": dict(self._sums), "steps": self._steps, "rates": dict(self._rates), "due": self._due}

    def seconds(self) -> dict[str, float]:
        """The measured times, for a checkpoint's manifest."""
        return {"total": self._total_s, "wait": self._wait_s}

    def load(self, states: Sequence[Mapping[str, Any]], seconds: Mapping[str, float]) -> None:
        """Go on from a checkpoint.

        Args:
            states: `state_dict` of this rank; or of all ranks of a run on another number of them, whose mean counts.
                None if an older version wrote it.
            seconds: those of rank 0.
        """
        if not states:
            return
        self._sums = {name: sum(state["sums"][name] for state in states) / len(states) for name in states[0]["sums"]}
        self._steps, self._rates, self._due = states[0]["steps"], states[0]["rates"], states[0]["due"]
        self._total_s, self._wait_s = seconds.get("total", 0.0), seconds.get("wait", 0.0)

    def resumed(self, at: Progress) -> Progress:
        """The progress at a checkpoint, with the learning rates of its step."""
        return replace(at, learning_rates=self._rates)

    def values(self, at: Progress, world: World) -> dict[str, float]:
        """The figures of a record; none before the first step. All ranks call it together."""
        if not self._steps:
            return {}
        mean = world.mean({name: value / self._steps for name, value in self._sums.items()} | {"_wait": self._wait_s})
        total_s = max(self._total_s, 1e-9)
        rate = self._steps * at.batch_size / total_s
        return {f"loss/{name}": value for name, value in mean.items() if name != "_wait"} | {
            **{f"lr/{player}": rate for player, rate in at.learning_rates.items()},
            "perf/images_per_s": rate,
            "perf/data_wait_frac": mean["_wait"] / total_s,
            "data/bad_samples": at.bad_samples,
            "perf/eta_s": max(0, at.total - at.nimg) / rate,
            "progress/epoch": at.nimg / at.epoch_size,
            "progress/nimg": at.nimg,
        }


class Log:
    """Every `every` images and at the end, write the means of the window, and the figure of `ranks`. Records that are
    there are left out.
    """

    def __init__(self, window: LogWindow, world: World, journal: Journal | None, ranks: RankTimes):
        self.window, self.world, self.journal, self.ranks = window, world, journal, ranks

    def __call__(self, at: Progress) -> None:
        if at.due(self.window.every):
            self._write(at)

    def end(self, at: Progress) -> None:
        if self.window.every:
            self._write(at)

    def _write(self, at: Progress) -> None:
        values = self.window.values(at, self.world)
        values |= self.ranks.values() if values else {}
        if self.journal is not None and values:
            self.journal.write("metrics", step=at.step, nimg=at.nimg, values=values)
