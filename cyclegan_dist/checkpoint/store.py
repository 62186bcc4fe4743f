"""Saving, verifying and loading checkpoints.

A checkpoint is `shared.pt` (what is equal on all ranks), `rank-00000.pt` and so on (each rank's history buffers), and
`manifest.json` with their hashes and its own. It is written in the background, committed when every rank's file is
there, and verified before it is used; a damaged one is skipped for the newest valid one. Files hold plain tensors:
nothing is unpickled except through `weights_only`.

A checkpoint that is damaged, or of another run, is passed over. It is renamed after the next commit, so that it does
not count among the newest.
"""

import contextlib
import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

from cyclegan_dist import __version__
from cyclegan_dist.checkpoint.fence import Fence
from cyclegan_dist.checkpoint.identity import Identity
from cyclegan_dist.checkpoint.manifest import SHARED, CheckpointError, dump_manifest, parse_manifest, rank_file
from cyclegan_dist.checkpoint.restore import ForeignError, Restored, load
from cyclegan_dist.checkpoint.storage import Aside, Storage
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.distributed import World

VERSIONS = {"program": __version__, "torch": torch.__version__}
POLL_S = 0.1  # between two looks at a save that is waited for


class SaveTimeoutError(Exception):
    """A save hangs in the storage, or was given up when the run was to stop."""


class CheckpointStore:
    """The checkpoints of one run. All ranks call every method together.

    Args:
        storage: where they are kept.
        world: this rank among all.
        keep: number of the newest that are kept.
        keep_best: number of those with the lowest score that are kept too.
        warn: called on rank 0 with warnings for the user.
        fence: decides whether this attempt may commit; without one it always may.
        identity: of the run: written into checkpoints, and compared when one is loaded.

    Attributes:
        waiting: called while a save is waited for, and by `wait` in any case, with the seconds since it last wrote
            something; may raise `SaveTimeoutError`, which gives up that save.
        problem: why the last save failed; empty if it did not.
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
        identity: Identity | None = None,
    ):
        self.storage, self.world, self.keep, self.keep_best, self.warn = storage, world, keep, keep_best, warn
        self._fence, self._identity = fence, identity
        self._attempt = fence.attempt if fence else world.broadcast(new_attempt())
        self._side_channel = world.side_channel()  # for background saves, separate from training's exchanges
        self._thread: threading.Thread | None = None
        self.problem = ""
        self._reported = True
        self._unpruned = ""  # why old checkpoints are still there
        self._moved = 0.0  # when the save last wrote something
        self._passed_over: dict[int, Aside] = {}
        self.waiting: Callable[[float], None] = lambda idle_s: None

    def save(
        self,
        step: int,
        shared: Mapping[str, Any],
        rank: Mapping[str, Any],
        *,
        nimg: int,
        score: float | None = None,
        seconds: Mapping[str, float] | None = None,
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
            seconds: measured times of rank 0, which are no part of the state: they differ between equal runs.

        Raises:
            SaveTimeoutError: as `wait`.
        """
        self.wait()
        parts = {rank_file(self.world.rank): on_cpu(rank)}
        if self.world.is_first:
            parts[SHARED] = on_cpu(shared)
        facts = {"step": step, "nimg": nimg, "score": score, "world_size": self.world.size, "versions": VERSIONS}
        facts |= {"seconds": dict(seconds or {}), **(self._identity.facts() if self._identity else {})}
        self.problem, self._reported, self._moved = "", False, time.monotonic()
        self._thread = threading.Thread(target=self._write, args=(step, parts, facts), daemon=True)
        self._thread.start()

    def wait(self, *, block: bool = True, timeout_s: float | None = None) -> None:
        """Warn if the last save failed; with `block`, after it has ended.

        Args:
            block: wait for the save.
            timeout_s: seconds, after which it is given up without an error.

        Raises:
            SaveTimeoutError: by `waiting`, with or without `block`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            while self._thread is not None and self._thread.is_alive():
                self.waiting(time.monotonic() - self._moved)
                if not block:
                    return
                if deadline is not None and time.monotonic() >= deadline:
                    break
                self._thread.join(POLL_S)
        except SaveTimeoutError:
            self._thread = None  # it may hang for ever
            raise
        self._thread = None
        if self.problem and not self._reported and self.world.is_first:
            self.warn(self.problem)
        if self._unpruned:
            self.warn(self._unpruned)
        self._reported, self._unpruned = True, ""

    def _write(self, step: int, parts: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        try:
            written = self._side_channel.gather(self._write_parts(step, parts))
            self._moved = time.monotonic()
            problem = self._commit(step, written, facts) if self.world.is_first else ""
            problem = self._side_channel.broadcast(problem)  # last: rank 0 prunes before any rank saves again
        except Exception as error:  # another rank died, and training's own exchanges fail too
            problem = str(error)
        if problem:
            reason = problem.strip().splitlines()[0]
            self.problem = f"checkpoint of step {step} was not written: {reason}; the previous one is kept"

    def _write_parts(self, step: int, parts: Mapping[str, Any]) -> dict[str, Any] | str:
        """Write and hash this rank's files. Returns their manifest entries, or the error's text."""
        try:
            return {name: self._write_part(step, name, content) for name, content in parts.items()}
        except Exception as error:  # torch raises RuntimeError for a full disk; any error is reported to all ranks
            return f"{self.storage}: {error}"

    def _write_part(self, step: int, name: str, content: Any) -> dict[str, Any]:
        with self.storage.create(step, self._attempt, name) as file:
            hashing = _Hashing(file, self._note_progress)
            torch.save(content, hashing)  # pyright: ignore[reportArgumentType]
        return {"sha256": hashing.sha256.hexdigest(), "bytes": hashing.bytes}

    def _note_progress(self) -> None:
        self._moved = time.monotonic()

    def _commit(self, step: int, written: list[dict[str, Any] | str], facts: Mapping[str, Any]) -> str:
        """Rank 0: commit, then prune. Returns why it was not committed, or an empty string."""
        failed = [entry for entry in written if isinstance(entry, str)]
        files = {name: entry for part in written if isinstance(part, dict) for name, entry in part.items()}
        manifest = {"version": 1, **facts, "attempt": self._attempt, "files": files}
        try:
            if failed:
                raise OSError(failed[0])
            if self._fence is not None and self._fence.lost():
                raise OSError("another attempt has taken over the run")
            self.storage.commit(step, self._attempt, dump_manifest(manifest), list(files))
        except OSError as error:
            self.storage.discard(step, self._attempt)
            return str(error)
        try:
            self._prune(step)
        except OSError as error:  # the next save tries again
            self._unpruned = f"old checkpoints in {self.storage} were not removed: {error}"
        return ""

    def _prune(self, committed: int) -> None:
        """Set aside what was passed over, and delete old checkpoints, but never the one just committed. After a commit
        only: before it, the oldest may be the last good one.
        """
        self._passed_over.pop(committed, None)
        steps = self.storage.steps()
        for step in self._passed_over.keys() & set(steps):
            self.storage.set_aside(step, self._passed_over[step])
        manifests = {step: self._manifest(step) for step in set(steps) - self._passed_over.keys()}
        valid = sorted(step for step, manifest in manifests.items() if manifest)
        scores = {step: manifest["score"] for step, manifest in manifests.items() if manifest}
        best = sorted((step for step in valid if scores[step] is not None), key=lambda step: scores[step])
        for step in set(valid) - {committed} - set(valid[-self.keep :]) - set(best[: self.keep_best]):
            self.storage.delete(step)

    def _manifest(self, step: int) -> dict[str, Any] | None:
        try:
            return parse_manifest(self.storage.manifest(step))
        except (OSError, CheckpointError):
            return None

    def has(self, step: int) -> bool:
        """Whether there is a checkpoint of `step` that was not passed over; all ranks get rank 0's result."""
        found = False
        if self.world.is_first and step not in self._passed_over:
            with contextlib.suppress(OSError):
                found = step in self.storage.steps()
        return self.world.broadcast(found)

    def latest(self) -> str:
        """The newest checkpoint, described for a message."""
        try:
            steps = self.storage.steps()
        except OSError as error:
            return f"the newest checkpoint, once {self.storage} can be read ({error.strerror or error})"
        return f"the checkpoint of step {steps[-1]}" if steps else "no checkpoint yet"

    def load_latest(self) -> Restored | None:
        """The newest checkpoint of this run whose files are valid on every rank, or None if there never was one.

        Raises:
            UsageError: if there are checkpoints but none is valid, or it cannot be seen whether there are.
        """
        steps = self.world.broadcast(self._steps_or_error() if self.world.is_first else "")
        if isinstance(steps, str):
            raise UsageError(f"the checkpoints in {self.storage} cannot be read, to resume from: {steps}")
        for step in steps:
            try:
                restored, problem = load(self.storage, step, self.world, self._identity), None
            except (CheckpointError, ForeignError) as error:
                restored, problem = None, (str(error), "foreign" if isinstance(error, ForeignError) else "damaged")
            problems = [found for found in self.world.gather(problem) if found]
            if not problems:
                return restored
            text, self._passed_over[step] = problems[0]
            if self.world.is_first:
                self.warn(
                    f"{text}; falling back to the checkpoint before it; the next save renames it to "
                    f"{self._passed_over[step]}-step-{step:09d}"
                )
        if steps:
            raise UsageError(f"no valid checkpoint in {self.storage}: restore one, or start a run of another name")
        return None

    def _steps_or_error(self) -> list[int] | str:
        try:
            return self.storage.steps()[::-1]
        except OSError as error:
            return str(error)

    def same_config(self, restored: Restored) -> bool:
        """Whether a checkpoint was saved with the config that the run has now, as far as that is known."""
        return self._identity is None or restored.facts.get("config", self._identity.config) == self._identity.config


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

    def __init__(self, file: BinaryIO, on_write: Callable[[], None]):
        self._file, self._on_write, self.sha256, self.bytes = file, on_write, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.sha256.update(data)
        self.bytes += len(data)
        self._on_write()
        return len(data)

    def flush(self) -> None:
        self._file.flush()
