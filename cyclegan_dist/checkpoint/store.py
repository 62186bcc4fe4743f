"""Everything that is needed to continue a run, kept so that a checkpoint is either whole or not there.

A checkpoint is a folder `step-000000123` with `shared.pt` (what is equal on all ranks), `rank-00000.pt` and so on (each
rank's history buffers), and `manifest.json` with their hashes. It is written under a hidden name and renamed when every
rank's file is on disk; it is verified before it is used, and a torn or rotten one is passed over for the newest valid
one. Files hold plain tensors: nothing is unpickled but through `weights_only`.
"""

import hashlib
import json
import os
import pickle
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cyclegan_dist import __version__
from cyclegan_dist.dist import World
from cyclegan_dist.errors import UsageError

MANIFEST = "manifest.json"
SHARED = "shared.pt"


class CheckpointError(Exception):
    """A checkpoint is torn, rotten or incomplete; the message names the file."""


@dataclass(frozen=True)
class Restored:
    """A verified checkpoint.

    Attributes:
        step: optimizer steps done.
        shared: what was equal on all ranks.
        ranks: what ranks had, by rank: this rank's own, or every rank's if the run that wrote it had another world
        size.
        world_size: ranks of the run that wrote it.
    """

    step: int
    shared: dict[str, Any]
    ranks: dict[int, dict[str, Any]]
    world_size: int


class CheckpointStore:
    """The checkpoints of one run, in a folder that every rank sees. `warn` is called on rank 0 with what a user should
    know.
    """

    def __init__(self, folder: Path, world: World, *, keep: int, warn: Callable[[str], None]):
        self.folder, self.world, self.keep, self.warn = folder, world, keep, warn
        self._attempt = world.from_first(uuid.uuid4().hex[:8])  # two attempts never write into one folder

    def save(
        self, step: int, shared: Mapping[str, Any], rank: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> Path | None:
        """Commit a checkpoint; all ranks call it together.

        Args:
            step: optimizer steps done.
            shared: tensors and plain values that are equal on all ranks; rank 0's are written.
            rank: what only this rank has.
            facts: JSON values for the manifest (nimg, config digest, versions).

        Returns:
            Its folder, or None if a rank could not write its part: then a warning says why and older checkpoints are
            untouched.
        """
        draft = self.folder / f".step-{step:09d}-{self._attempt}"
        parts = {_rank_file(self.world.rank): rank}
        if self.world.is_first:
            parts[SHARED] = shared
        written = self.world.gather(_write(draft, parts))
        failed = [answer for answer in written if isinstance(answer, str)]
        done = self.folder / f"step-{step:09d}"
        if self.world.is_first and not failed:
            files = {name: entry for answer in written for name, entry in answer.items()}
            manifest = {
                "version": 1,
                "step": step,
                "world_size": self.world.size,
                "program": __version__,
                **facts,
                "files": files,
            }
            failed = _commit(draft, done, manifest)
        if self.world.is_first:
            shutil.rmtree(draft, ignore_errors=True)
            if failed:
                self.warn(f"checkpoint of step {step} was not written: {failed[0]}; the previous one stays")
            else:
                self._prune()
        # Last, so that no rank begins the next draft while rank 0 still tidies up.
        return None if self.world.from_first(failed) else done

    def has(self, step: int) -> bool:
        """Whether there is a checkpoint of `step`; rank 0's answer on all ranks."""
        return self.world.from_first((self.folder / f"step-{step:09d}").exists())

    def load_latest(self) -> Restored | None:
        """The newest checkpoint whose files are valid on every rank, or None if there never was one; all ranks call it
        together.

        Raises:
            UsageError: if there are checkpoints but none is valid.
        """
        names = self.world.from_first(sorted((path.name for path in self.folder.glob("step-*")), reverse=True))
        for name in names:
            try:
                restored, problem = _load(self.folder / name, self.world), None
            except CheckpointError as error:
                restored, problem = None, str(error)
            problems = [answer for answer in self.world.gather(problem) if answer]
            if not problems:
                return restored
            if self.world.is_first:
                self.warn(f"{problems[0]}; falling back to the checkpoint before it")
        if names:
            raise UsageError(f"no valid checkpoint in {self.folder}: restore one, or start a run of another name")
        return None

    def _prune(self) -> None:
        for folder in sorted(self.folder.glob("step-*"))[: -self.keep]:
            shutil.rmtree(folder, ignore_errors=True)
        for draft in self.folder.glob(".step-*"):  # left by attempts that died
            shutil.rmtree(draft, ignore_errors=True)


def _write(draft: Path, parts: Mapping[str, Any]) -> dict[str, Any] | str:
    """Write and hash this rank's files: their manifest entries, or what went wrong."""
    try:
        draft.mkdir(parents=True, exist_ok=True)
        return {name: _write_file(draft / name, content) for name, content in parts.items()}
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        return f"{draft.parent}: {str(error).splitlines()[0]}"


def _write_file(path: Path, content: Any) -> dict[str, Any]:
    with path.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    return _entry(path)


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _commit(draft: Path, done: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Write the manifest last and give the folder its name."""
    missing = [name for name in manifest["files"] if not (draft / name).exists()]
    if missing:
        return [f"{draft.parent} is not storage that all ranks share: {missing[0]} of another rank is not there"]
    old = draft.with_name(f"{draft.name}-old")
    try:
        with (draft / MANIFEST).open("w") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if done.exists():  # the same step, from an attempt that was then resumed from further back
            os.rename(done, old)
        os.rename(draft, done)
        shutil.rmtree(old, ignore_errors=True)
        descriptor = os.open(done.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    except OSError as error:
        return [str(error)]
    return []


def _load(folder: Path, world: World) -> Restored:
    """Read and verify the shared file and the rank files that this rank needs."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        size = manifest["world_size"]
        wanted = [world.rank] if size == world.size else list(range(size))
        content = {name: _read(folder / name, manifest["files"][name]) for name in (SHARED, *map(_rank_file, wanted))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {folder} is incomplete ({error})") from error
    return Restored(manifest["step"], content[SHARED], {rank: content[_rank_file(rank)] for rank in wanted}, size)


def _read(path: Path, entry: dict[str, Any]) -> Any:
    if _entry(path) != entry:
        raise CheckpointError(f"checkpoint file {path} is damaged")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint file {path} holds more than tensors and is refused") from error


def _rank_file(rank: int) -> str:
    return f"rank-{rank:05d}.pt"
