"""Scores of a finished run: of its last snapshot, and of the one that is best on validation images. Kept in the run's
folder, so that each is computed once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cyclegan_dist.data.config import DataDirection
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.cached import CHOSEN, LAST, EvaluationCache, choosing, protocol_digest
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.paper.data import TEST, VALIDATION, Parts
from cyclegan_dist.paper.runs import Variant
from cyclegan_dist.step.distributed import World
from cyclegan_dist.storage.layout import RunFolder


@dataclass(frozen=True)
class Scores:
    """What was measured of one run in one direction of the data set.

    Attributes:
        figures: on the test images, of the `last` snapshot and of the `chosen` one: values by key without the
            direction; with `_real` behind it, those of the real images.
        nimg: images that the snapshots had seen.
        pictures: folder and prefix of the last snapshot's translations of the first test images.
    """

    figures: dict[str, dict[str, float]]
    nimg: dict[str, int]
    pictures: tuple[Path, str]


class Scorer:
    """Evaluates the snapshots of runs on the parts of a data set."""

    def __init__(self, data: Parts, config: EvaluationConfig, choose_by: str, world: World):
        self.data, self.config, self.choose_by = data, config, choose_by
        # On the validation images only what the choice takes, which is most of the time.
        configs = {TEST: config, VALIDATION: choosing(config, choose_by)}
        self._cache = EvaluationCache(data.parts, configs, lambda: self.protocol, world, pages=TEST)

    @property
    def computed(self) -> int:
        """How many evaluations were done."""
        return self._cache.computed

    @cached_property
    def protocol(self) -> str:
        """A short digest of everything that scores depend on but the snapshot."""
        return protocol_digest(self.config, self.data.parts)

    def score(
        self, run_dir: Path, variant: Variant, report: Callable[[str], object] = lambda line: None
    ) -> dict[DataDirection, Scores]:
        """The scores of a finished run by direction of the data set; `report` gets a line when one is computed.

        Raises:
            UsageError: if the run has no snapshot, or one cannot be evaluated.
        """
        snapshots = sorted(RunFolder(run_dir).snapshots.glob("nimg-*"))
        if not snapshots:
            raise UsageError(f"{run_dir} has no snapshots")
        found: dict[DataDirection, Scores] = {}
        for direction in variant.measured:
            name = (
                "AB" if direction == variant.direction else "BA"
            )  # as the run, whose domains may be exchanged, has it
            known = [self._cache.figures(snapshot, VALIDATION, report) for snapshot in snapshots]
            latest_first = reversed(range(len(snapshots)))  # of equal ones the latest, also if none could be measured
            chosen = min(latest_first, key=lambda i: self._criterion(known[i], name))
            both = {LAST: snapshots[-1], CHOSEN: snapshots[chosen]}
            found[direction] = Scores(
                {which: _of(self._cache.figures(one, TEST, report), name) for which, one in both.items()},
                {which: int(one.name.removeprefix("nimg-")) for which, one in both.items()},
                (
                    self._cache.folder(snapshots[-1], TEST) / "images",
                    str(Snapshot.open(snapshots[-1]).directions.index(name)),
                ),
            )
        return found

    def left(self, run_dir: Path) -> int:
        """How many evaluations of a finished run are still to do, but for that of the chosen snapshot, which is not
        known before.
        """
        snapshots = sorted(RunFolder(run_dir).snapshots.glob("nimg-*"))
        parts = [
            *((snapshot, VALIDATION) for snapshot in snapshots),
            *((snapshot, TEST) for snapshot in snapshots[-1:]),
        ]
        return sum(not self._cache.has(snapshot, part) for snapshot, part in parts)

    def _criterion(self, figures: dict[str, float], name: str) -> float:
        key = f"{self.choose_by}_{name}"
        if key not in figures:
            raise UsageError(f"choose_by {self.choose_by} is not among {', '.join(figures)}")
        return figures[key] if math.isfinite(figures[key]) else math.inf


def _of(figures: dict[str, float], name: str) -> dict[str, float]:
    """Those of a direction, without it in their keys."""
    found = {key.removesuffix(f"_{name}"): value for key, value in figures.items() if key.endswith(f"_{name}")}
    real = f"_real_{name[1]}"
    return found | {f"{key.removesuffix(real)}_real": v for key, v in figures.items() if key.endswith(real)}
