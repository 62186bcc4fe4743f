"""Check of the versions of programs on all nodes."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path

import cyclegan_dist
from cyclegan_dist.operations.doctor.nodes import listed
from cyclegan_dist.operations.doctor.report import Report

PACKAGES = ("torch", "ray", "mlflow")
INSTALL = "Install the same environment on every node: pip install -c constraints.txt ."


def versions_here() -> dict[str, str]:
    """Version by program; also a digest of our code, because two checkouts may have the same version."""
    code, root = hashlib.sha256(), Path(cyclegan_dist.__file__).parent
    for path in sorted(root.rglob("*.py")):
        code.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    found = {"python": platform.python_version(), "cyclegan_dist": cyclegan_dist.__version__}
    found["code"] = code.hexdigest()[:8]
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def check_versions(report: Report, nodes: Mapping[str, Mapping[str, str]]) -> None:
    """Check that the nodes have the versions of this process, and that no program is missing."""
    here = versions_here()
    for program, version in here.items():
        if version == "missing":
            report.add("red", f"{program} is not installed here", INSTALL)
        others: dict[str, list[str]] = {}
        for node, versions in nodes.items():
            if versions[program] != version:
                others.setdefault(versions[program], []).append(node)
        for other, names in others.items():
            # Only the launcher uses MLflow.
            level = "yellow" if program == "mlflow" else "red"
            report.add(level, f"{program} {version} here, {other} on {listed(names)}", INSTALL)
    found = ", ".join(f"{program} {version}" for program, version in here.items() if program != "code")
    report.ok(found + (f"; the same on {len(nodes)} nodes" if len(nodes) > 1 else ""), here)
