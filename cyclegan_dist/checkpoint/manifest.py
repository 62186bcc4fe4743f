"""The manifest of a checkpoint: facts about it, and the hash and the size of each file."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

SHARED = "shared.pt"


class CheckpointError(Exception):
    """A checkpoint is damaged or incomplete; the message names the file."""


def dump_manifest(manifest: Mapping[str, Any]) -> bytes:
    """The manifest with its own hash, as JSON. `parse_manifest` accepts exactly this form."""
    digest = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    return (json.dumps({"checkpoint": manifest, "sha256": digest}, indent=1) + "\n").encode()


def parse_manifest(data: bytes) -> dict[str, Any]:
    """The fields of a manifest, whose types are those that this module writes.

    Raises:
        CheckpointError: if it is not what was written, or was made up.
    """
    try:
        manifest = json.loads(data)["checkpoint"]
        whole = dump_manifest(manifest) == data
    except (ValueError, KeyError, TypeError, RecursionError):
        whole, manifest = False, None
    if not whole or not isinstance(manifest, dict):
        raise CheckpointError("manifest.json is corrupt")
    manifest = {"score": None, "seconds": {}, **manifest}
    for name, fits in _FIELDS.items():
        if name not in manifest or not fits(manifest[name]):
            raise CheckpointError(f"manifest.json: {name} is not what a checkpoint has")
    if manifest["files"].keys() != {SHARED, *map(rank_file, range(len(manifest["files"]) - 1))}:
        raise CheckpointError("manifest.json: files are not those that a checkpoint has")
    if manifest["world_size"] != len(manifest["files"]) - 1:
        raise CheckpointError("manifest.json: world_size is not the number of ranks' files")
    return manifest


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "step": _is_count,
    "nimg": _is_count,
    "world_size": _is_count,
    "attempt": lambda value: isinstance(value, str) and bool(re.fullmatch("[A-Za-z0-9_-]{1,64}", value)),
    "score": lambda value: value is None or _is_number(value),
    "seconds": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    "versions": lambda value: isinstance(value, dict) and all(isinstance(one, str) for one in value.values()),
    "files": lambda value: (
        isinstance(value, dict)
        and all(
            isinstance(entry, dict) and _is_count(entry.get("bytes")) and isinstance(entry.get("sha256"), str)
            for entry in value.values()
        )
    ),
}


def rank_file(rank: int) -> str:
    """The file with the state of one rank."""
    return f"rank-{rank:05d}.pt"
