"""The identity of a run: what its checkpoints say about the run that they belong to."""

import contextlib
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.checkpoint.manifest import CheckpointError, parse_manifest
from cyclegan_dist.checkpoint.storage import Storage
from cyclegan_dist.storage.checked import DamagedError, read_checked, write_checked
from cyclegan_dist.storage.layout import RunFolder


@dataclass(frozen=True)
class Identity:
    """A run's identity.

    Attributes:
        run: the id that the run got when it was created. It is kept in the run folder and travels with it, so a copy of
            the folder accepts the checkpoints in it.
        seed: of the config.
        config: digest of the config's values that affect what is learned.
    """

    run: str
    seed: int
    config: str

    def facts(self) -> dict[str, Any]:
        """The fields of a checkpoint's manifest."""
        return asdict(self)

    def differs(self, manifest: Mapping[str, Any]) -> str:
        """Why a checkpoint with this manifest is of another run; empty if it is of this one, or was written before
        version 0.2, which recorded no identity. Another config does not make another run: a user may have changed it.
        """
        own = {"run": self.run, "seed": self.seed}
        other = {name: manifest.get(name, value) for name, value in own.items()}
        if other == own:
            return ""
        return " and ".join(f"{name} {other[name]}, not {own[name]}" for name in own if other[name] != own[name])


def run_id(run_dir: Path, storage: Storage, recorded: str | None, *, seed: int, config: str) -> str:
    """The id in the run folder, which is written if it is missing or damaged. Call it on rank 0.

    Args:
        run_dir: the run folder.
        storage: of its checkpoints.
        recorded: the id that the run's journal has; empty if it has none, None if the run has not trained in this
            folder.
        seed: as `Identity.seed`.
        config: as `Identity.config`.

    Returns:
        The kept id, else the recorded one, else that of the newest checkpoint, else a new one. In a new run folder the
        newest checkpoint counts only if it has this seed and config: others may keep theirs in the same place.

    Raises:
        OSError: if it cannot be written.
    """
    path = RunFolder(run_dir).identity
    with contextlib.suppress(OSError, DamagedError):
        if isinstance(kept := read_checked(path).get("run"), str):
            return kept
    newest = {} if recorded else _newest(storage)
    own = path.exists() or recorded is not None or (newest.get("seed"), newest.get("config")) == (seed, config)
    found = recorded or (str(newest.get("run", "")) if own else "") or uuid.uuid4().hex[:12]
    write_checked(path, {"run": found})
    return found


def _newest(storage: Storage) -> Mapping[str, Any]:
    """The manifest of the newest checkpoint that has one."""
    with contextlib.suppress(OSError):
        for step in reversed(storage.steps()):
            with contextlib.suppress(CheckpointError):
                return parse_manifest(storage.manifest(step))
    return {}
