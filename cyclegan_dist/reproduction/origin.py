"""What a run or a model was made from, out of the run's journal or of the files that a registered model carries."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.config.begun import read_begun
from cyclegan_dist.config.config import Config, home
from cyclegan_dist.config.yaml_tree import read_tree
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.registry.sources import REGISTRY, open_source
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import RUN_RECORDS, start_records
from cyclegan_dist.training.run_folder import read_config

CONFIG = "config.yaml"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a snapshot was made from.

    Attributes:
        name: of its run.
        snapshot: that is to be reproduced.
        config: of its run.
        starts: the journal's records of the run's starts before the snapshot, oldest first; empty if none is known.
        run: folder of the run, if it is here.
        runs_dir: where a reproduction's folder goes.
    """

    name: str
    snapshot: Snapshot
    config: Config
    starts: Sequence[Mapping[str, Any]]
    run: RunFolder | None
    runs_dir: Path

    @property
    def nimg(self) -> int:
        """Images per domain that the snapshot has seen."""
        return int(self.snapshot.card["nimg"])

    @property
    def world_sizes(self) -> list[int]:
        """The numbers of ranks that the run has been trained by, in their order."""
        return [one["world_size"] for one in self.starts if "world_size" in one]

    @property
    def environment(self) -> Mapping[str, Any]:
        """Versions, threads and packages of its last start; empty if a version before they were recorded wrote it."""
        return self.starts[-1].get("environment", {}) if self.starts else {}

    def fact(self, name: str) -> Any:
        """A field of the record of its last start; None if that is not known."""
        return self.starts[-1].get(name) if self.starts else None

    def data(self) -> dict[str, str]:
        """The digest of the images of each domain, by its letter."""
        found = self.fact("data") or self.snapshot.card.get("data", [])
        return {one["name"]: one["digest"] for one in found}


def open_origin(source: str) -> Origin:
    """What `source` was made from.

    Args:
        source: a run's folder, whose newest snapshot is taken; a snapshot's folder in one, or a file of it; or a
            registered model, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        UsageError: if there is nothing of that name, its configuration is not known, or its run was extended.
    """
    if source.startswith(REGISTRY):
        return _registered(source)
    path = Path(source)
    snapshot = open_source(str(path.parent if path.is_file() else path))
    run = RunFolder(snapshot.folder.absolute().parent.parent)
    if not run.config.exists():
        raise UsageError(
            f"{source} is not in the folder of a run, so that its configuration is not known: give the run's folder, "
            f"or the registered model, {REGISTRY}NAME/VERSION"
        )
    return _checked(snapshot, read_config(run.path), start_records(run.path), run, run.path.parent)


def _registered(source: str) -> Origin:
    snapshot = open_source(source)
    from cyclegan_dist.registry.download import fetch_texts  # loads mlflow

    texts = fetch_texts(source, (CONFIG, RUN_RECORDS))
    tree = read_tree(texts.get(CONFIG, "").encode(), f"{CONFIG} of {source}")
    if not isinstance(tree.get("method"), dict):
        raise UsageError(
            f"{source} carries no configuration of its run, since it was not promoted from the run's folder: give that "
            "folder"
        )
    config, starts = read_begun(tree, f"{CONFIG} of {source}"), json.loads(texts.get(RUN_RECORDS, "[]"))
    return _checked(snapshot, config, starts, None, home() / "runs")


def _checked(
    snapshot: Snapshot, config: Config, starts: Sequence[Mapping[str, Any]], run: RunFolder | None, runs_dir: Path
) -> Origin:
    nimg = snapshot.card.get("nimg")
    if not isinstance(nimg, int) or not nimg:
        raise UsageError(f"the card of {snapshot.folder} does not say after how many images it was written")
    # A start whose training was lost, because a later one went back to before it, has no part in the snapshot.
    seen = [one.get("nimg", 0) for one in starts]
    before = [one for at, one in enumerate(starts) if seen[at] < min([nimg, *seen[at + 1 :]])]
    if any(one.get("segments") for one in starts) or snapshot.card.get("segments"):
        raise UsageError(
            f"the run of {snapshot.folder} was extended with another schedule, and only the last configuration is "
            "kept: train it by the commands that began and extended it"
        )
    return Origin(
        name=config.name,
        snapshot=snapshot,
        config=config,
        starts=before,
        run=run,
        runs_dir=runs_dir,
    )


def same_snapshot(origin: Origin, again: str) -> str:
    """The snapshot of the run `again` after as many images as that of `origin`, if it has one; else `again`."""
    there = RunFolder(Path(again)).snapshot(origin.nimg)
    return str(there) if there.is_dir() else again
