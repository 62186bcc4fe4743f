"""The runs, snapshots and registered models that are compared, as far as their folders describe them. Does not load
torch.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.comparison.options import Which
from cyclegan_dist.config.yaml_tree import flatten
from cyclegan_dist.data.domain_names import NO_NAMES, Names
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.registry.sources import REGISTRY, open_source
from cyclegan_dist.storage.checked import DamagedError, read_checked
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import read_records, training_seconds
from cyclegan_dist.tracking.overview import overview
from cyclegan_dist.training.run_folder import read_config

BEST = "best"


@dataclass(frozen=True, kw_only=True)
class ComparedSource:
    """A run, one of its snapshots, or a model. What is not known is empty.

    Attributes:
        name: of the run, unique among those that are compared.
        source: as it was given.
        run: folder of the run.
        snapshot: that is evaluated; None of a run that has none yet.
        which: snapshot that is: `newest`, `best by kd/untrained` or `as given`.
        config: all values of the configuration, by dotted key.
        data: digest of the images of domain A and of B that were trained on.
        names: of the domains.
        facts: for people, by name.
    """

    name: str
    source: str
    run: RunFolder | None
    snapshot: Snapshot | None
    which: str
    config: dict[str, Any]
    data: dict[str, str]
    names: Names
    facts: dict[str, Any]


def open_sources(sources: Sequence[str], which: Which) -> list[ComparedSource]:
    """All of them, in their order.

    Args:
        sources: folders of runs or snapshots, or registered models.
        which: snapshot that is taken of a run.

    Raises:
        UsageError: if one is not there, is given twice, or is damaged, or a run has no best snapshot and it is wanted.
    """
    places = [source if source.startswith(REGISTRY) else str(Path(source).resolve()) for source in sources]
    for place, source in zip(places, sources, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"{source} is given twice: give different runs")
    found = [_open(source, which) for source in sources]
    names = [one.name for one in found]
    return [
        one if names.count(one.name) == 1 else dataclasses.replace(one, name=one.source.rstrip("/")) for one in found
    ]


def _open(source: str, which: Which) -> ComparedSource:
    path = Path(source)
    if not source.startswith(REGISTRY) and _is_run(path):
        return _described(path.resolve().name, source, RunFolder(path), *_snapshot_of(RunFolder(path), which))
    snapshot = open_source(source)
    run = snapshot.folder.absolute().parent.parent
    if source.startswith(REGISTRY) or not _is_run(run):
        name = source if source.startswith(REGISTRY) else path.resolve().name
        return _described(name, source, None, snapshot, "as given")
    return _described(f"{run.name}/{snapshot.folder.name}", source, RunFolder(run), snapshot, "as given")


def _is_run(path: Path) -> bool:
    return RunFolder(path).config.exists() or RunFolder(path).journal.exists()


def _snapshot_of(run: RunFolder, which: Which) -> tuple[Snapshot | None, str]:
    if which == BEST:
        try:
            best = read_checked(run.best)
            return Snapshot.open(run.path / str(best["snapshot"])), f"{BEST} by {best['figure']}"
        except (OSError, DamagedError, KeyError) as error:
            raise UsageError(
                f"{run.path} has no best snapshot ({run.best.name} cannot be read): only a run with held-out images "
                "has one; leave out --snapshot best to take the newest"
            ) from error
    has_one = any(run.snapshots.glob("nimg-*"))
    return (Snapshot.open(run.path) if has_one else None), "newest"


def _described(name: str, source: str, run: RunFolder | None, snapshot: Snapshot | None, which: str) -> ComparedSource:
    card: dict[str, Any] = snapshot.card if snapshot is not None else {}
    facts: dict[str, Any] = {}
    if snapshot is not None:
        facts = {"method": snapshot.method, "snapshot": f"{snapshot.folder.name} ({which})"}
        facts |= {"images seen by the snapshot": card.get("nimg")}
    config: dict[str, Any] = {}
    data, names = card.get("data", []), snapshot.domain_names if snapshot is not None else NO_NAMES
    if run is not None:
        config = flatten(dataclasses.asdict(read_config(run.path)))
        now = overview(name, run.path)
        facts = {"method": config["method.name"], "state": now.state, **facts}
        facts |= {"images seen": now.images, "images planned": now.total}
        facts |= {"seconds of training": round(training_seconds(run.journal), 1)}
        records = (record for record, _ in read_records(run.journal, 0)) if run.journal.exists() else ()
        for record in [record for record in records if record["kind"] == "run"][-1:]:
            data, names = record["data"] or data, record.get("domain_names", {}) or names
            facts |= {"device": record.get("device"), "ranks": record.get("world_size")}
            facts |= {"commit": record.get("commit", "")[:12]}
    digests = {one["name"]: one["digest"] for one in data}
    facts |= {f"data {domain}": digests[domain][:12] for domain in sorted(digests)}
    return ComparedSource(
        name=name,
        source=source,
        run=run,
        snapshot=snapshot,
        which=which,
        config=config,
        data=digests,
        names=dict(names),
        facts={key: value for key, value in facts.items() if value not in (None, "")},
    )
