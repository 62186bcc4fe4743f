"""ONNX Runtime Web: its package from the npm registry, pinned and checked, and the files of it that a page needs."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from http.client import HTTPException
from pathlib import Path

from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import atomic

VERSION = "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # in base64, as npm
ARCHIVE = f"onnxruntime-web-{VERSION}.tgz"
WASM, WEBGPU = "ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify"
FILES = ("ort.wasm.min.js", f"{WASM}.mjs", f"{WASM}.wasm", "ort.webgpu.min.js", f"{WEBGPU}.mjs", f"{WEBGPU}.wasm")
_TIMEOUT_S = 20.0  # without an answer


def runtime_files(archive: Path | None = None) -> dict[str, bytes]:
    """The content of `FILES` by name.

    Args:
        archive: the package, as `npm pack onnxruntime-web@VERSION` writes it; None: the one in the cache
            (`XDG_CACHE_HOME`, by default ~/.cache), downloaded if it is not there from the registry of
            NPM_CONFIG_REGISTRY, or else that of an installed npm.

    Raises:
        UsageError: if it cannot be downloaded or read, or is not the package of this version.
    """
    path = archive or _downloaded()
    try:
        _refuse_other(path, hashlib.sha512(path.read_bytes()).digest())
        with tarfile.open(path) as package:
            return {name: package.extractfile(f"package/dist/{name}").read() for name in FILES}  # pyright: ignore
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def _refuse_other(path: Path | str, digest: bytes) -> None:
    found = base64.b64encode(digest).decode()
    if found != SHA512:
        raise UsageError(
            f"{path} has sha512 {found[:12]}..., and onnxruntime-web {VERSION} has {SHA512[:12]}...: get it with "
            f"npm pack onnxruntime-web@{VERSION}, and give --runtime {ARCHIVE}"
        )


def _registry() -> str:
    found = os.environ.get("NPM_CONFIG_REGISTRY", "")
    if not found and (npm := shutil.which("npm")):
        found = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True).stdout.strip()
    if not found:
        raise UsageError(
            "onnxruntime-web is not there, and neither is npm, which knows where to get it: set NPM_CONFIG_REGISTRY to "
            f"an npm registry, or run npm pack onnxruntime-web@{VERSION} elsewhere and give --runtime {ARCHIVE}"
        )
    return found.rstrip("/")


def _downloaded() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cyclegan_dist"
    path = cache / ARCHIVE
    if path.is_file():
        return path
    url = f"{_registry()}/onnxruntime-web/-/{ARCHIVE}"
    print(f"downloading onnxruntime-web {VERSION} (33 MB) to {path}", file=sys.stderr)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with atomic(path, writer=f"{os.getpid()}-") as draft:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, draft.open("wb") as file:
                shutil.copyfileobj(answer, file)
            _refuse_other(url, hashlib.sha512(draft.read_bytes()).digest())
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UsageError(
            f"onnxruntime-web cannot be downloaded to {path} ({reason}): on another machine run "
            f"npm pack onnxruntime-web@{VERSION}, and give --runtime {ARCHIVE}"
        ) from error
    return path
