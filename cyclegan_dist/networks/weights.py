"""Files of weights: read without running code in them, and checked by their hash."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from cyclegan_dist.errors import UsageError


def read_weights(file: Path, sha256: str = "") -> tuple[str, dict[str, Tensor]]:
    """The file's hash, and the state dict in it. No code in it is run.

    Raises:
        UsageError: if it cannot be read, has another hash than `sha256`, or is no state dict.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"weights {file} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 and digest != sha256.lower():
        raise UsageError(f"weights {file} have sha256 {digest}, not {sha256}: they are not what you trust")
    try:
        return digest, torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has many for what is no state dict
        raise UsageError(f"weights {file} are no state dict that can be loaded safely") from error
