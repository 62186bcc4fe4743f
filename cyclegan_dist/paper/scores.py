"""Scores of a finished run: of its last snapshot, and of the one that is best on validation images. Kept in the run's
folder, so that each is computed once.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cyclegan_dist.config.shipped import read_shipped
from cyclegan_dist.data.config import DataDirection
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.measure import evaluate
from cyclegan_dist.evaluation.report import METRICS, write_report
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.paper.data import TEST, VALIDATION, Parts
from cyclegan_dist.paper.runs import Variant
from cyclegan_dist.step.distributed import World
from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.storage.layout import RunFolder

LAST, CHOSEN = "last", "chosen"


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
        self.data, self.config, self.choose_by, self.world = data, config, choose_by, world
        self.computed = 0

    @cached_property
    def protocol(self) -> str:
        """A short digest of everything that scores depend on but the snapshot."""
        palette = read_shipped(self.config.palette, "palette")[0] if self.config.palette else b""
        files = [Path(text.rpartition(":")[2]) for text in (self.config.segmenter, self.config.features)]
        content = b"".join(file.read_bytes() for file in files if file.is_file())
        facts = json.dumps(
            [dataclasses.asdict(self.config), {part: m.digest for part, m in self.data.parts.items()}], sort_keys=True
        )
        return hashlib.sha256(facts.encode() + palette + content).hexdigest()[:12]

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
            known = [self._figures(snapshot, VALIDATION, report) for snapshot in snapshots]
            latest_first = reversed(range(len(snapshots)))  # of equal ones the latest, also if none could be measured
            chosen = min(latest_first, key=lambda i: self._criterion(known[i], name))
            figures = {LAST: snapshots[-1], CHOSEN: snapshots[chosen]}
            found[direction] = Scores(
                {which: _of(self._figures(snapshot, TEST, report), name) for which, snapshot in figures.items()},
                {which: int(snapshot.name.removeprefix("nimg-")) for which, snapshot in figures.items()},
                (
                    self._folder(snapshots[-1], TEST) / "images",
                    str(Snapshot.open(snapshots[-1]).directions.index(name)),
                ),
            )
        return found

    def left(self, run_dir: Path) -> int:
        """How many evaluations of a finished run are still to do, but for that of the chosen snapshot, which is not
        known before.
        """
        snapshots = sorted(RunFolder(run_dir).snapshots.glob("nimg-*"))
        folders = [self._folder(snapshot, VALIDATION) for snapshot in snapshots]
        folders += [self._folder(snapshot, TEST) for snapshot in snapshots[-1:]]
        return sum(not (folder / METRICS).exists() for folder in folders)

    def _criterion(self, figures: dict[str, float], name: str) -> float:
        key = f"{self.choose_by}_{name}"
        if key not in figures:
            raise UsageError(f"choose_by {self.choose_by} is not among {', '.join(figures)}")
        return figures[key] if math.isfinite(figures[key]) else math.inf

    def _folder(self, snapshot: Path, part: str) -> Path:
        return RunFolder(snapshot.parent.parent).evaluations / f"{part}-{self.protocol}-{snapshot.name}"

    def _figures(self, snapshot: Path, part: str, report: Callable[[str], object]) -> dict[str, float]:
        folder = self._folder(snapshot, part)
        try:
            tree: dict[str, Any] = json.loads((folder / METRICS).read_text())
            return {key: figure["value"] for key, figure in tree["figures"].items()}
        except (OSError, ValueError, KeyError, TypeError):  # not computed yet, or damaged
            pass
        evaluation = evaluate(Snapshot.open(snapshot), self._manifest(part), self._config(part), self.world)
        self.computed += 1
        report(f"evaluated {snapshot.parent.parent.name}/{snapshot.name} on {part}")
        if part == TEST:
            write_report(evaluation, folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / METRICS, evaluation.to_json() + "\n")
        return {key: figure.value for key, figure in evaluation.figures.items()}

    def _manifest(self, part: str) -> Manifest:
        return self.data.parts[part]

    def _config(self, part: str) -> EvaluationConfig:
        """On the validation images only what the choice takes, which is most of the time."""
        distances = self.choose_by.partition("/")[0] in ("kd", "kid", "fd", "fid", "diversity")
        if part == TEST or not distances:
            return self.config
        return dataclasses.replace(self.config, metrics=("distances",), palette="", segmenter="")


def _of(figures: dict[str, float], name: str) -> dict[str, float]:
    """Those of a direction, without it in their keys."""
    found = {key.removesuffix(f"_{name}"): value for key, value in figures.items() if key.endswith(f"_{name}")}
    real = f"_real_{name[1]}"
    return found | {f"{key.removesuffix(real)}_real": v for key, v in figures.items() if key.endswith(real)}
