"""Files that are downloaded once and checked by their hash."""

import hashlib
import os
import shutil
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path

import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import atomic

TIMEOUT_S = 20.0  # without an answer


def downloaded(url: str, sha256: str, what: str, instead: str) -> Path:
    """The file of `url`, in torch's folder of downloads (`TORCH_HOME`, by default below ~/.cache): downloaded unless it
    is there. Processes may call it at the same time.

    Args:
        url: of the file.
        sha256: its hash.
        what: needs it, for messages.
        instead: option that takes a file, for messages.

    Raises:
        UsageError: if it cannot be downloaded or written, or is another file.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    print(f"{what}: downloading {url} to {path}", file=sys.stderr)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path, writer=f"{os.getpid()}-") as draft:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, draft.open("wb") as file:
                shutil.copyfileobj(answer, file)
            found = hashlib.sha256(draft.read_bytes()).hexdigest()
            if found != sha256:
                raise UsageError(f"{what}: {url} has sha256 {found}, not {sha256}: get the file elsewhere, {instead}")
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UsageError(
            f"{what}: {url} cannot be downloaded to {path} ({reason}): download it on another machine, then {instead}"
        ) from error
    return path
