"""What a training's numbers depend on besides its configuration and data: versions, device, uncommitted changes."""

import hashlib
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclegan_dist import __version__
from cyclegan_dist.tracking.journal import source_commit

_DRIVER = Path("/proc/driver/nvidia/version")
_ROOT = Path(__file__).parents[2]


def packages() -> dict[str, str]:
    """The version of each package that can be imported, by its normalized name, read from the names of folders: to
    read the metadata of some hundred packages would take half a second.
    """
    found: dict[str, str] = {}
    for place in reversed(sys.path):  # what comes first is imported
        for folder in Path(place or ".").glob("*.dist-info"):
            name, _, version = folder.name.removesuffix(".dist-info").partition("-")
            found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return dict(sorted(found.items()))


def source_changes() -> str:
    """sha256 of what differs between this program's source and its git commit; empty if nothing does, or it is not in
    a repository.
    """
    if not source_commit():
        return ""
    code = ["--", "cyclegan_dist", "pipelines"]
    try:
        changed = subprocess.run(["git", "-C", _ROOT, "diff", "HEAD", *code], capture_output=True, timeout=10).stdout
        command = ["git", "-C", _ROOT, "ls-files", "--others", "--exclude-standard", *code]
        added = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.splitlines()
        content = [changed, *(name.encode() + b"\0" + (_ROOT / name).read_bytes() for name in added)]
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return hashlib.sha256(b"\0".join(content)).hexdigest() if changed or added else ""


def environment(device: str) -> dict[str, Any]:
    """Versions, threads and packages, for a process that trains on `device`, `cpu` or `cuda`. Loads torch."""
    import torch

    found: dict[str, Any] = {
        "program": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if device == "cuda":
        driver = re.search(r"\d+\.\d+(\.\d+)?", _DRIVER.read_text()) if _DRIVER.exists() else None
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        found["driver"] = driver[0] if driver else ""
    return found | {"packages": packages()}
