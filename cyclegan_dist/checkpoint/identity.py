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


def run_id(run_dir: Path, storage: Storage, recorded: str) -> str:
    """The id in the run folder, which is written if it is missing or damaged. Call it on rank 0.

    Args:
        run_dir: the run folder.
        storage: of its checkpoints.
        recorded: the id that the run's journal has; empty if it has none.

    Returns:
        The kept id, else the recorded one, else that of the newest checkpoint, else a new one.

    Raises:
        OSError: if it cannot be written.
    """
    path = RunFolder(run_dir).identity
    with contextlib.suppress(OSError, DamagedError):
        if isinstance(kept := read_checked(path).get("run"), str):
            return kept
    found = recorded or _of_newest(storage) or uuid.uuid4().hex[:12]
    write_checked(path, {"run": found})
    return found


def _of_newest(storage: Storage) -> str:
    with contextlib.suppress(OSError):
        for step in reversed(storage.steps()):
            with contextlib.suppress(CheckpointError):
                return str(parse_manifest(storage.manifest(step)).get("run", ""))
    return ""
