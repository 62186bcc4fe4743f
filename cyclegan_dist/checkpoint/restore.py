"""Reading and verifying a checkpoint."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cyclegan_dist.checkpoint.identity import Identity
from cyclegan_dist.checkpoint.manifest import SHARED, CheckpointError, parse_manifest, rank_file
from cyclegan_dist.checkpoint.storage import Storage
from cyclegan_dist.step.distributed import World


class ForeignError(Exception):
    """A checkpoint is of another run; the message says what differs."""


@dataclass(frozen=True)
class Restored:
    """A verified checkpoint.

    Attributes:
        step: optimizer steps done.
        shared: the state that is equal on all ranks.
        ranks: the states that differ, by rank: this rank's own, or all if the run that wrote it had another world size.
        world_size: ranks of the run that wrote it.
        versions: of this library and of torch, when it was written.
        facts: the manifest's fields.
    """

    step: int
    shared: dict[str, Any]
    ranks: dict[int, dict[str, Any]]
    world_size: int
    versions: dict[str, str]
    facts: Mapping[str, Any]


def load(storage: Storage, step: int, world: World, identity: Identity | None) -> Restored:
    """Read and verify the checkpoint of `step`: its manifest, the shared file and the rank files that this rank needs.

    Raises:
        CheckpointError: if it is damaged, incomplete or cannot be read.
        ForeignError: if it is of another run than that of `identity`.
    """
    where = f"checkpoint step-{step:09d} in {storage}"
    try:
        manifest = parse_manifest(storage.manifest(step))
        if manifest["step"] != step:
            raise CheckpointError(f"its manifest is that of step {manifest['step']}")
        if identity and (differs := identity.differs(manifest)):
            raise ForeignError(f"{where} is of another run ({differs})")
        size = manifest["world_size"]
        wanted = [world.rank] if size == world.size else list(range(size))
        shared = read_part(storage, step, SHARED, manifest)
        ranks = {rank: read_part(storage, step, rank_file(rank), manifest) for rank in wanted}
    except (OSError, CheckpointError) as error:
        raise CheckpointError(f"{where} is damaged ({error})") from error
    return Restored(step, shared, ranks, size, manifest["versions"], manifest)


def read_part(storage: Storage, step: int, name: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The content of one file of a checkpoint.

    Raises:
        OSError: if it cannot be read.
        CheckpointError: if it is not what the manifest says, or holds more than tensors and plain values.
    """
    data, entry = storage.read(step, manifest["attempt"], name), manifest["files"][name]
    if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{name} is corrupt: its hash or size differs from the manifest")
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several types
        raise CheckpointError(f"{name} contains objects other than tensors and was not loaded") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{name} is not a mapping")
    return content


def read_shared(storage: Storage, step: int = 0, run: str = "") -> tuple[dict[str, Any], Mapping[str, Any]] | None:
    """The state that is equal on all ranks, and the manifest, of the newest valid checkpoint, or of the one of `step`;
    None if there is none. With `run`, checkpoints of runs of another identity do not count.

    Raises:
        OSError: if the storage cannot be read.
    """
    for found in storage.steps()[::-1]:
        if step in (0, found):
            try:
                manifest = parse_manifest(storage.manifest(found))
                if run and manifest.get("run", run) != run:
                    continue
                return read_part(storage, found, SHARED, manifest), manifest
            except CheckpointError:
                continue
    return None
