"""Evaluations of snapshots that are kept, so that each is computed once: in their run's folder, or in a folder of the
user's home for what is not of a run.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cyclegan_dist.config.config import home
from cyclegan_dist.config.features import network_of
from cyclegan_dist.config.shipped import read_shipped
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.evaluation.measure import Evaluation, evaluate
from cyclegan_dist.evaluation.report import METRICS, write_report
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.step.distributed import World
from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.storage.layout import RunFolder

LAST, CHOSEN = "last", "chosen"
PARTS = "parts.json"  # of a kept evaluation whose figures and pictures can be compared with those of others
DISTANCES = ("kd", "kid", "fd", "fid", "diversity")
CONTENT_VERSION = 2  # of the figures of the metric group: 1 had the grey values alone, not edges and structure
Report = Callable[[str], object]


def protocol_digest(config: EvaluationConfig, parts: Mapping[str, Manifest]) -> str:
    """A short digest of everything that figures depend on but the snapshot: what is measured, with which files, and on
    which images.
    """
    palette = read_shipped(config.palette, "palette")[0] if config.palette else b""
    files = [Path(text.rpartition(":")[2]) for text in (config.segmenter, *config.features)]
    content = b"".join(file.read_bytes() for file in files if file.is_file())
    what = dataclasses.asdict(config)
    if len(config.features) == 1:
        what["features"] = config.features[0]  # as it was when there was one: what was computed then is still good
    if "content" in config.metrics:  # an evaluation without this group has all its figures, of any version
        what["content"] = CONTENT_VERSION
    facts = json.dumps([what, {part: manifest.digest for part, manifest in parts.items()}], sort_keys=True)
    return hashlib.sha256(facts.encode() + palette + content).hexdigest()[:12]


def choosing(config: EvaluationConfig, figure: str) -> EvaluationConfig:
    """The part of an evaluation that measures a figure, for choosing among snapshots: of a distance that is the
    translations and one network.
    """
    if figure.partition("/")[0] not in DISTANCES:
        return config
    network = network_of(figure)
    features = tuple(one for one in config.features if one.partition(":")[0] == network) or config.features
    return dataclasses.replace(
        config, metrics=("distances",), features=features, class_rate=(), palette="", segmenter=""
    )


class EvaluationCache:
    """Evaluates snapshots on parts of a data set, unless that was done.

    Attributes:
        computed: how many evaluations were done, and not found.
    """

    def __init__(
        self,
        parts: Mapping[str, Manifest],
        configs: Mapping[str, EvaluationConfig],
        protocol: Callable[[], str],
        world: World,
        pages: str,
    ):
        """Args:
        parts: images, by name.
        configs: what is measured on each part.
        protocol: gives the digest that distinguishes its results from others.
        world: this rank among all.
        pages: part whose evaluations get a page with images.
        """
        self.parts, self.configs, self.world = parts, configs, world
        self._protocol, self._pages = protocol, pages
        self.computed = 0

    def folder(self, snapshot: Path, part: str) -> Path:
        """Where the evaluation of a snapshot is kept."""
        run = RunFolder(snapshot.absolute().parent.parent)
        if run.config.exists() or snapshot.parent.name == run.snapshots.name:
            return run.evaluations / f"{part}-{self._protocol()}-{snapshot.name}"
        return home() / "evaluations" / f"{part}-{self._protocol()}-{Snapshot.open(snapshot).digest()[:12]}"

    def has(self, snapshot: Path, part: str) -> bool:
        """Whether a snapshot was evaluated."""
        return (self.folder(snapshot, part) / METRICS).exists()

    def figures(self, snapshot: Path, part: str, report: Report = lambda line: None) -> dict[str, float]:
        """Values by key, as `tree`."""
        return {key: figure["value"] for key, figure in self.tree(snapshot, part, report)["figures"].items()}

    def tree(self, snapshot: Path, part: str, report: Report = lambda line: None) -> dict[str, Any]:
        """An evaluation as it is in metrics.json. All ranks call it.

        Args:
            snapshot: its folder.
            part: of the data set.
            report: called with a line when one is computed.

        Raises:
            UsageError: as `evaluate`.
        """
        folder = self.folder(snapshot, part)
        try:
            tree = json.loads((folder / METRICS).read_text())
            _ = [float(figure["value"]) for figure in tree["figures"].values()]
            return tree
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not computed yet, or damaged
            pass
        evaluation = self._evaluated(snapshot, part, report)
        if self.world.is_first:
            if part == self._pages:
                write_report(evaluation, folder)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomic(folder / METRICS, evaluation.to_json() + "\n")
        return json.loads(evaluation.to_json())

    def with_parts(self, snapshot: Path, part: str, report: Report = lambda line: None) -> "EvaluationWithParts":
        """An evaluation with what `difference` of figures needs, and with the pictures of its page. All ranks call it.

        Arguments and errors as for `tree`.
        """
        folder = self.folder(snapshot, part)
        try:
            return EvaluationWithParts.read(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not computed yet, or damaged
            pass
        evaluation = self._evaluated(snapshot, part, report)
        if self.world.is_first:
            write_report(evaluation, folder)
            shown = {
                direction.name: {
                    kind: [f"images/{number}-{i:04d}-{kind}.png" for i in range(len(direction.names))]
                    for kind in direction.shown
                }
                for number, direction in enumerate(evaluation.directions)
            }
            parts = {key: [figure.value, figure.parts, figure.n] for key, figure in evaluation.figures.items()}
            names = {direction.name: direction.names for direction in evaluation.directions}
            write_atomic(folder / PARTS, json.dumps({"figures": parts, "names": names, "shown": shown}) + "\n")
        self.world.gather(None)  # the others read what the first has written
        return EvaluationWithParts.read(folder)

    def _evaluated(self, snapshot: Path, part: str, report: Report) -> Evaluation:
        evaluation = evaluate(Snapshot.open(snapshot), self.parts[part], self.configs[part], self.world, report=report)
        self.computed += 1
        report(f"evaluated {snapshot.parent.parent.name}/{snapshot.name} on {part}")
        return evaluation


@dataclasses.dataclass(frozen=True)
class EvaluationWithParts:
    """A kept evaluation.

    Attributes:
        tree: as in metrics.json.
        figures: by key, with their parts.
        names: of the images that are shown, by direction, AB or BA.
        shown: their pictures: files by direction and kind, in the order of `names`.
    """

    tree: dict[str, Any]
    figures: dict[str, Figure]
    names: dict[str, list[str]]
    shown: dict[str, dict[str, list[Path]]]

    @classmethod
    def read(cls, folder: Path) -> "EvaluationWithParts":
        """The one in a folder.

        Raises:
            OSError: if a file of it cannot be read.
            ValueError, KeyError, TypeError, AttributeError: if one is damaged.
        """
        tree, kept = (json.loads((folder / name).read_text()) for name in (METRICS, PARTS))
        _ = [tree["figures"][key]["value"] for key in kept["figures"]]
        figures = {key: Figure(value, tuple(parts), n) for key, (value, parts, n) in kept["figures"].items()}
        shown = {
            direction: {kind: [folder / name for name in names] for kind, names in kinds.items()}
            for direction, kinds in kept["shown"].items()
        }
        for path in (path for kinds in shown.values() for paths in kinds.values() for path in paths):
            path.stat()
        return cls(tree, figures, kept["names"], shown)
