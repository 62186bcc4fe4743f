"""Saving, verifying and loading checkpoints.

A checkpoint is `shared.pt` (what is equal on all ranks), `rank-00000.pt` and so on (each rank's history buffers), and
`manifest.json` with their hashes and its own. It is written in the background, committed when every rank's file is
there, and verified before it is used; a damaged one is skipped for the newest valid one. Files hold plain tensors:
nothing is unpickled except through `weights_only`.
"""

import hashlib
import io
import json
import pickle
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

from cyclegan_dist import __version__
from cyclegan_dist.checkpoint.fence import Fence
from cyclegan_dist.checkpoint.storage import Storage
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.distributed import World

SHARED = "shared.pt"
VERSIONS = {"program": __version__, "torch": torch.__version__}


class CheckpointError(Exception):
    """A checkpoint is damaged or incomplete; the message names the file."""


@dataclass(frozen=True)
class Restored:
    """A verified checkpoint.

    Attributes:
        step: optimizer steps done.
        shared: the state that is equal on all ranks.
        ranks: the states that differ, by rank: this rank's own, or all if the run that wrote it had another world size.
        world_size: ranks of the run that wrote it.
        versions: of this library and of torch, when it was written.
    """

    step: int
    shared: dict[str, Any]
    ranks: dict[int, dict[str, Any]]
    world_size: int
    versions: dict[str, str]


class CheckpointStore:
    """The checkpoints of one run. All ranks call every method together.

    Args:
        storage: where they are kept.
        world: this rank among all.
        keep: number of the newest that are kept.
        keep_best: number of those with the lowest score that are kept too.
        warn: called on rank 0 with warnings for the user.
        fence: decides whether this attempt may commit; without one it always may.
    """

    def __init__(
        self,
        storage: Storage,
        world: World,
        *,
        keep: int,
        warn: Callable[[str], None],
        keep_best: int = 0,
        fence: Fence | None = None,
    ):
        self.storage, self.world, self.keep, self.keep_best, self.warn = storage, world, keep, keep_best, warn
        self._fence = fence
        self._attempt = fence.attempt if fence else world.broadcast(new_attempt())
        self._side_channel = world.side_channel()  # for background saves, separate from training's exchanges
        self._thread: threading.Thread | None = None
        self._problem = ""

    def save(
        self,
        step: int,
        shared: Mapping[str, Any],
        rank: Mapping[str, Any],
        *,
        nimg: int,
        score: float | None = None,
    ) -> None:
        """Copy the state and start to write it in the background; `wait` reports the result. Waits for the previous
        save if it is still running.

        If a rank cannot write its part there is a warning, and older checkpoints are kept.

        Args:
            step: optimizer steps done.
            shared: tensors and plain values that are equal on all ranks; rank 0 writes them.
            rank: the state of this rank only.
            nimg: images seen.
            score: lower is better; for `keep_best`.
        """
        self.wait()
        parts = {_rank_file(self.world.rank): on_cpu(rank)}
        if self.world.is_first:
            parts[SHARED] = on_cpu(shared)
        facts = {"step": step, "nimg": nimg, "score": score, "world_size": self.world.size, "versions": VERSIONS}
        self._thread = threading.Thread(target=self._write, args=(step, parts, facts), daemon=True)
        self._thread.start()

    def wait(self, *, block: bool = True, timeout_s: float | None = None) -> None:
        """Warn if the last save failed; with `block`, after it has ended."""
        if self._thread is None or (self._thread.is_alive() and not block):
            return
        self._thread.join(timeout_s)
        self._thread = None
        if self._problem and self.world.is_first:
            self.warn(self._problem)
        self._problem = ""

    def _write(self, step: int, parts: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        try:
            written = self._side_channel.gather(self._write_parts(step, parts))
            problem = self._commit(step, written, facts) if self.world.is_first else ""
            problem = self._side_channel.broadcast(problem)  # last: rank 0 prunes before any rank saves again
        except Exception as error:  # another rank died, and training's own exchanges fail too
            problem = str(error)
        if problem:
            reason = problem.strip().splitlines()[0]
            self._problem = f"checkpoint of step {step} was not written: {reason}; the previous one is kept"

    def _write_parts(self, step: int, parts: Mapping[str, Any]) -> dict[str, Any] | str:
        """Write and hash this rank's files. Returns their manifest entries, or the error's text."""
        try:
            return {name: self._write_part(step, name, content) for name, content in parts.items()}
        except Exception as error:  # torch raises RuntimeError for a full disk; any error is reported to all ranks
            return f"{self.storage}: {error}"

    def _write_part(self, step: int, name: str, content: Any) -> dict[str, Any]:
        with self.storage.create(step, self._attempt, name) as file:
            hashing = _Hashing(file)
            torch.save(content, hashing)  # pyright: ignore[reportArgumentType]
        return {"sha256": hashing.sha256.hexdigest(), "bytes": hashing.bytes}

    def _commit(self, step: int, written: list[dict[str, Any] | str], facts: Mapping[str, Any]) -> str:
        """Rank 0: commit, then prune. Returns the error's text or an empty string."""
        failed = [entry for entry in written if isinstance(entry, str)]
        files = {name: entry for part in written if isinstance(part, dict) for name, entry in part.items()}
        manifest = {"version": 1, **facts, "attempt": self._attempt, "files": files}
        try:
            if failed:
                raise OSError(failed[0])
            if self._fence is not None and self._fence.lost():
                raise OSError("another attempt has taken over the run")
            self.storage.commit(step, self._attempt, dump_manifest(manifest), list(files))
            self._prune()
        except OSError as error:
            self.storage.discard(step, self._attempt)
            return str(error)
        return ""

    def _prune(self) -> None:
        """Delete old checkpoints. After a commit only: before it, the oldest may be the last good one."""
        steps = self.storage.steps()
        scores = {step: score for step in steps if (score := self._score(step)) is not None}
        best = sorted(scores, key=lambda step: scores[step])[: self.keep_best]
        for step in set(steps) - set(steps[-self.keep :]) - set(best):
            self.storage.delete(step)

    def _score(self, step: int) -> float | None:
        try:
            return _parse(self.storage.manifest(step))["score"]
        except (OSError, CheckpointError):
            return None

    def has(self, step: int) -> bool:
        """Whether there is a checkpoint of `step`; all ranks get rank 0's result."""
        return self.world.broadcast(self.world.is_first and step in self.storage.steps())

    def latest(self) -> str:
        """The newest checkpoint, described for a message."""
        steps = self.storage.steps()
        return f"the checkpoint of step {steps[-1]}" if steps else "no checkpoint yet"

    def load_latest(self) -> Restored | None:
        """The newest checkpoint whose files are valid on every rank, or None if there never was one.

        Raises:
            UsageError: if there are checkpoints but none is valid.
        """
        steps = self.world.broadcast(self.storage.steps()[::-1] if self.world.is_first else None)
        for step in steps:
            try:
                restored, problem = self._load(step), None
            except CheckpointError as error:
                restored, problem = None, str(error)
            problems = [text for text in self.world.gather(problem) if text]
            if not problems:
                return restored
            if self.world.is_first:
                self.warn(f"{problems[0]}; falling back to the checkpoint before it")
        if steps:
            raise UsageError(f"no valid checkpoint in {self.storage}: restore one, or start a run of another name")
        return None

    def _load(self, step: int) -> Restored:
        """Read and verify the shared file and the rank files that this rank needs."""
        try:
            manifest = _parse(self.storage.manifest(step))
            size = manifest["world_size"]
            wanted = [self.world.rank] if size == self.world.size else list(range(size))
            content = {name: _read(self.storage, step, name, manifest) for name in (SHARED, *map(_rank_file, wanted))}
            if manifest["step"] != step:
                raise CheckpointError(f"its manifest is that of step {manifest['step']}")
        except (OSError, KeyError, CheckpointError) as error:
            raise CheckpointError(f"checkpoint step-{step:09d} in {self.storage} is damaged ({error})") from error
        ranks = {rank: content[_rank_file(rank)] for rank in wanted}
        return Restored(step, content[SHARED], ranks, size, manifest["versions"])


def read_shared(storage: Storage, step: int = 0) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The state that is equal on all ranks, and the manifest, of the newest valid checkpoint, or of the one of `step`;
    None if there is none.

    Raises:
        OSError: if the storage cannot be read.
    """
    for found in storage.steps()[::-1]:
        if step in (0, found):
            try:
                manifest = _parse(storage.manifest(found))
                return _read(storage, found, SHARED, manifest), manifest
            except (KeyError, CheckpointError):
                continue
    return None


def _read(storage: Storage, step: int, name: str, manifest: Mapping[str, Any]) -> Any:
    data, entry = storage.read(step, manifest["attempt"], name), manifest["files"][name]
    if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{name} is corrupt: its hash or size differs from the manifest")
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise CheckpointError(f"{name} contains objects other than tensors and was not loaded") from error


def new_attempt() -> str:
    """A unique name for an attempt at a run, so that two attempts never write to the same folder."""
    return uuid.uuid4().hex[:8]


def on_cpu(value: Any) -> Any:
    """A copy on the CPU of a tree of tensors and plain values, which later steps do not change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(item) for item in value)
    return value


class _Hashing:
    """A file that computes the sha256 and the number of the bytes written to it."""

    def __init__(self, file: BinaryIO):
        self._file, self.sha256, self.bytes = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.sha256.update(data)
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


def dump_manifest(manifest: Mapping[str, Any]) -> bytes:
    """The manifest with its own hash, as JSON. `_parse` accepts exactly this form."""
    digest = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    return (json.dumps({"checkpoint": manifest, "sha256": digest}, indent=1) + "\n").encode()


def _parse(data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)["checkpoint"]
    except (ValueError, KeyError, TypeError):
        manifest = None
    if manifest is None or dump_manifest(manifest) != data:
        raise CheckpointError("manifest.json is corrupt")
    return manifest


def _rank_file(rank: int) -> str:
    return f"rank-{rank:05d}.pt"
