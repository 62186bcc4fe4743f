"""Records of losses and speed, averaged over all ranks."""

from torch import Tensor

from cyclegan_dist.step.distributed import World
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.hooks.progress import Progress


class Log:
    """Every `every` images, write the means since the last record. Scalars stay on the device in between."""

    def __init__(self, every: int, world: World, journal: Journal | None):
        self.every, self.world, self.journal = every, world, journal
        self._sums: dict[str, Tensor] = {}
        self._steps, self._total_s, self._wait_s = 0, 0.0, 0.0

    def __call__(self, at: Progress) -> None:
        for name, value in at.losses.items():
            self._sums[name] = self._sums.get(name, 0) + value
        self._steps, self._total_s, self._wait_s = self._steps + 1, self._total_s + at.step_s, self._wait_s + at.wait_s
        if at.due(self.every):
            self._write(at)

    def end(self, at: Progress) -> None:
        if self._steps and self.every:
            self._write(at)

    def _write(self, at: Progress) -> None:
        mean = self.world.mean(
            {name: value / self._steps for name, value in self._sums.items()} | {"_wait": self._wait_s}
        )
        rate = self._steps * at.batch_size / self._total_s
        values = {f"loss/{name}": value for name, value in mean.items() if name != "_wait"} | {
            **{f"lr/{player}": rate for player, rate in at.learning_rates.items()},
            "perf/images_per_s": rate,
            "perf/data_wait_frac": mean["_wait"] / self._total_s,
            "data/bad_samples": at.bad_samples,
            "perf/eta_s": max(0, at.total - at.nimg) / rate,
            "progress/epoch": at.nimg / at.epoch_size,
            "progress/nimg": at.nimg,
        }
        if self.journal is not None:
            self.journal.write("metrics", step=at.step, nimg=at.nimg, values=values)
        self._sums, self._steps, self._total_s, self._wait_s = {}, 0, 0.0, 0.0
