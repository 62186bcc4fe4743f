"""What a run does not need any more: checkpoints and snapshots of a finished run, drafts of any that is not running."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.checkpoint.manifest import CheckpointError, parse_manifest
from cyclegan_dist.checkpoint.storage import LocalStorage
from cyclegan_dist.config.held_out import AUTO
from cyclegan_dist.config.yaml_tree import read_tree
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import CARD, Snapshot
from cyclegan_dist.operations.prune.named import Named
from cyclegan_dist.operations.prune.removal import Part, Removable, at, is_inside
from cyclegan_dist.operations.prune.stores import Stores
from cyclegan_dist.storage.checked import DamagedError, read_checked
from cyclegan_dist.storage.files import hidden, is_locked
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.overview import overview
from cyclegan_dist.tracking.sender_state import SenderState

ENDED = ("finished", "stopped", "failed", "killed", "not started")
DESTINATIONS = ("mlflow", "tensorboard", "wandb")


@dataclass(frozen=True)
class RunFiles:
    """The files of one run.

    Attributes:
        name: for people.
        path: its folder, resolved.
        named: what configurations name.
        stores: MLflow stores.
        all_checkpoints: whether the last checkpoints are not needed either.
        note: takes what is left alone, and why.
    """

    name: str
    path: Path
    named: Named
    stores: Stores
    all_checkpoints: bool
    note: Callable[[str], None]

    def part(self) -> Part:
        """As a part of what is pruned."""
        folder = RunFolder(self.path)
        senders = [path for path in map(folder.sender_lock_of, DESTINATIONS) if path.exists()]
        changes = (folder.config, folder.journal, folder.best, folder.attempt, folder.checkpoints, folder.snapshots)
        return Part(self.name, [folder.lock, *senders], self.removable, changes)

    def removable(self) -> list[Removable]:
        """What can be removed at this time."""
        folder, state = RunFolder(self.path), overview(self.name, self.path).state
        locks = [folder.lock, *map(folder.sender_lock_of, DESTINATIONS)]
        locks += [RunFolder(self.path.parent).lock] if self._is_trial else []
        try:
            in_use = any(map(is_locked, locks))
        except OSError as error:
            in_use, state = False, f"unreadable ({error.filename})"
        if state not in ENDED or in_use:
            self.note(f"{self.name} is left alone: it is {'in use' if state in ENDED else state}")
            return []
        found = [at(path, "a killed process left it") for path in self._drafts(folder)]
        if state == "finished":
            try:
                config = read_tree(folder.config.read_bytes(), str(folder.config))
                found += [*self._checkpoints(folder, config), *self._snapshots(folder, config)]
            except (OSError, UsageError) as error:
                self.note(f"{self.name} is left alone: {error}")
                return []
            except (AttributeError, TypeError, ValueError):
                self.note(f"{self.name} is left alone: {folder.config} is damaged")
                return []
        for one in found:
            if not is_inside(one.path, self.path):
                self.note(f"{self.name}: {one.path} is left alone: a link leads there")
        return [one for one in found if is_inside(one.path, self.path)]

    @property
    def _is_trial(self) -> bool:
        return RunFolder(self.path.parent).sweep_journal.exists()

    def _drafts(self, folder: RunFolder) -> Iterator[Path]:
        yield from sorted(folder.checkpoints.glob(".step-*"))
        yield from sorted(folder.snapshots.glob(".nimg-*"))
        yield from sorted(folder.samples.glob(".nimg-*"))
        drafts = hidden(folder.start), hidden(folder.path / "data", ending=".unfinished")
        yield from (draft for draft in drafts if draft.exists())

    def _checkpoints(self, folder: RunFolder, config: Mapping[str, Any]) -> Iterator[Removable]:
        """Those that neither a longer training nor a promotion with the training state starts from."""
        if config.get("checkpoints"):
            self.note(f"{self.name}: its checkpoints are not in its folder, and left alone: {config['checkpoints']}")
            return
        storage = LocalStorage(folder.checkpoints)
        manifests = {step: manifest for step in storage.steps() if (manifest := self._manifest(folder, storage, step))}
        newest = next((step for step in reversed(manifests) if _is_whole(storage, step, manifests[step])), None)
        if newest is None:
            if manifests:
                self.note(f"{self.name}: all of its checkpoints are damaged, and left alone")
            return
        kept = {newest} if self._keeps_newest(folder, config) else set[int]()
        if not self.all_checkpoints:
            scores = {step: found["score"] for step, found in manifests.items() if found["score"] is not None}
            kept |= set(sorted(scores, key=lambda step: scores[step])[: int(config.get("keep_best", 0))])
            kept |= {_step_of(self._best(folder))}
        why = f"older than step {newest}, from which the run can go on" if kept else "the run has finished"
        for step in sorted(set(manifests) - kept):  # the newest last
            if step <= newest:
                yield at(folder.checkpoints / f"step-{step:09d}", why)

    def _keeps_newest(self, folder: RunFolder, config: Mapping[str, Any]) -> bool:
        if not self.all_checkpoints:
            return True
        why = "it ended at stop_after" if config.get("stop_after") and not self._is_trial else ""
        if folder.config.stat().st_mtime > folder.journal.stat().st_mtime:
            why = "its configuration is newer than its journal, as of a run that is to be extended"
        why = "another run names it" if self.path in self.named.paths else why
        if why:
            self.note(f"{self.name} keeps its newest checkpoint: {why}")
        return bool(why)

    def _manifest(self, folder: RunFolder, storage: LocalStorage, step: int) -> dict[str, Any] | None:
        """Of a checkpoint of this run; None if it is damaged, or of another run."""
        try:
            manifest = parse_manifest(storage.manifest(step))
            own = read_checked(folder.identity).get("run") if folder.identity.exists() else None
        except (OSError, CheckpointError, DamagedError):
            return None
        return manifest if manifest["step"] == step and own in (None, manifest.get("run", own)) else None

    def _snapshots(self, folder: RunFolder, config: Mapping[str, Any]) -> Iterator[Removable]:
        """Those that are neither the newest nor the best, and that nothing names or was registered from."""
        *superseded, newest = sorted(path.parent for path in folder.snapshots.glob(f"nimg-*/{CARD}")) or [folder.path]
        best = self._best(folder)
        superseded = [path for path in superseded if path != best and not self.named.has(path)]
        if not superseded:
            return
        if self._is_trial:
            self.note(f"{self.path.parent.name}: snapshots of its trials are kept, because `paper` chooses among all")
            return
        for path in filter(None, (newest, best)):
            Snapshot.open(path).refuse_damaged()
        if best is None and config.get("held_out", {}).get("data") not in (None, "", AUTO):
            self.note(f"{self.name}: snapshots are kept, because best.json does not say which is the best")
            return
        if self.named.unreadable:
            self.note(f"snapshots are kept: {self.named.unreadable[0]} cannot be read, and may name one")
            return
        if config.get("tracking", {}).get("mlflow", True) and not _is_sent(folder):
            self.note(f"{self.name}: snapshots are kept, because not all of the run is in MLflow: sync it first")
            return
        registered = self.stores.of_run(self.path)
        if registered is None:
            return
        for path in superseded:
            if any(place == path or path in place.parents for place in registered.places):
                continue
            if registered.digests and (_digest(path) or next(iter(registered.digests))) in registered.digests:
                continue
            yield at(path, "neither the newest nor the best, and nothing was registered from it")

    def _best(self, folder: RunFolder) -> Path | None:
        """The snapshot that `best.json` names, or None if there is no such file.

        Raises:
            UsageError: if it is damaged.
        """
        try:
            return self.path / str(read_checked(folder.best)["snapshot"])
        except FileNotFoundError:
            return None
        except (DamagedError, LookupError) as error:
            raise UsageError(f"{folder.best} is damaged: {error}") from error


def _is_whole(storage: LocalStorage, step: int, manifest: Mapping[str, Any]) -> bool:
    """Whether the files of a checkpoint are what its manifest says."""
    try:
        return all(
            hashlib.sha256(storage.read(step, manifest["attempt"], name)).hexdigest() == entry["sha256"]
            for name, entry in manifest["files"].items()
        )
    except OSError:
        return False


def _step_of(snapshot: Path | None) -> int:
    """The step of a snapshot; -1 if that is not known."""
    try:
        return int(json.loads((snapshot / CARD).read_text())["step"]) if snapshot else -1
    except (OSError, ValueError, LookupError, TypeError):
        return -1


def _is_sent(folder: RunFolder) -> bool:
    state = SenderState.read(folder.path)
    return bool(state.run_id) and state.offset >= folder.journal.stat().st_size


def _digest(snapshot: Path) -> str:
    """As `Snapshot.digest`; empty if it cannot be computed."""
    try:
        return Snapshot.open(snapshot).digest()
    except (UsageError, OSError):
        return ""
