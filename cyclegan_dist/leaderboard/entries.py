"""Entries of a leaderboard: what is known of a run, a snapshot or a registered model before it is measured."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.config.changes import differing, learned_values
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.registry.sources import open_source, refuse_missing_source
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import read_records, training_seconds
from cyclegan_dist.training.run_folder import read_config


@dataclass(frozen=True)
class Entry:
    """A run, one of its snapshots, or a model.

    Attributes:
        name: of the run, or the source.
        snapshots: folders, oldest first; the last one is measured, and one of all is chosen.
        values: of the configuration, by dotted key, that affect what is learned, but for the seed; empty if unknown.
        seed: None if unknown.
        facts: for the page, as JSON values: seconds, device, commit, ranks, data.
    """

    name: str
    snapshots: tuple[Path, ...]
    values: dict[str, Any]
    seed: int | None
    facts: dict[str, Any]

    @property
    def last(self) -> Snapshot:
        """The newest snapshot."""
        return Snapshot.open(self.snapshots[-1])


def open_entries(sources: Sequence[str]) -> list[Entry]:
    """The entries of all sources.

    Raises:
        UsageError: if one is not there or has no snapshot, or two are of one configuration and seed.
    """
    for source in sources:
        refuse_missing_source(source)
    entries = [_open(source) for source in dict.fromkeys(sources)]
    seen: dict[str, str] = {}
    for entry in entries:
        key = f"{configuration(entry)} {entry.seed}"
        if key in seen:
            raise UsageError(
                f"{seen[key]} and {entry.name} are of one configuration and seed, and would count as two: give one"
            )
        seen[key] = entry.name
    return entries


def _open(source: str) -> Entry:
    snapshot = open_source(source)
    run = RunFolder(snapshot.folder.absolute().parent.parent)
    facts: dict[str, Any] = {"data": {one["name"]: one["digest"] for one in snapshot.card.get("data", [])}}
    if not (run.config.exists() and run.journal.exists()):
        return Entry(source, (snapshot.folder,), {}, None, facts)
    whole = RunFolder(Path(source)).config.exists()
    snapshots = tuple(sorted(run.snapshots.glob("nimg-*"))) if whole else (snapshot.folder,)
    config = read_config(run.path)
    values = learned_values(config)
    del values["seed"]
    started = [record for record, _ in read_records(run.journal, 0) if record["kind"] == "run"][-1:]
    for record in started:
        facts |= {key: record.get(key, "") for key in ("device", "commit", "world_size")}
    facts |= {"seconds": round(training_seconds(run.journal), 1), "batch_size": config.optim.batch_size}
    name = run.path.name if whole else f"{run.path.name}/{snapshot.folder.name}"
    return Entry(name, snapshots, values, config.seed, facts)


def configuration(entry: Entry) -> str:
    """Equal for entries of one configuration; of what is not known to have one, for the entry alone."""
    return repr(sorted(entry.values.items())) if entry.values else entry.name


def grouped(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The entries of each configuration, by its name: the beginning that the names of its runs share."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(configuration(entry), []).append(entry)
    named: dict[str, list[Entry]] = {}
    for group in groups.values():
        names = [entry.name for entry in group]
        shared = 0
        while all(len(name) > shared and name[shared] == names[0][shared] for name in names):
            shared += 1
        name = names[0] if len(names) == 1 else names[0][:shared].rstrip("-_.0123456789 ") or names[0]
        while name in named:
            name += "'"
        named[name] = group
    return named


def differences(groups: dict[str, list[Entry]]) -> dict[str, dict[str, Any]]:
    """The keys in which configurations differ, and the value of each."""
    return differing({name: group[0].values for name, group in groups.items() if group[0].values})


def as_json(entry: Entry) -> dict[str, Any]:
    """Without folders, which are of this machine."""
    return {key: value for key, value in dataclasses.asdict(entry).items() if key not in ("snapshots", "values")}
