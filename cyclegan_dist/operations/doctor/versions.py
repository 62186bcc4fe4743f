"""The same programs on every node, and none with a known hole."""

import hashlib
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

import cyclegan_dist
from cyclegan_dist.operations.doctor.findings import Finding
from cyclegan_dist.operations.doctor.fleet import Fleet, answered, everywhere, names_of

CHECK = "versions"
PACKAGES = ("torch", "ray", "mlflow")
# CVE-2026-24747: code through torch.load(weights_only=True). CVE-2026-27482: DELETE without a check in Ray's dashboard.
# CVE-2026-4137: code through MLflow's temporary folders.
SAFE_FROM = {"torch": "2.10", "ray": "2.54", "mlflow": "3.11"}
INSTALL = "Install the same environment on every node: pip install -c constraints.txt ."


def versions_here() -> dict[str, str]:
    """Version by program; of this package also a digest of its code, for checkouts of one version differ."""
    found = {"python": platform.python_version(), "cyclegan_dist": cyclegan_dist.__version__, "code": _code()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _code() -> str:
    together, root = hashlib.sha256(), Path(cyclegan_dist.__file__).parent
    for path in sorted(root.rglob("*.py")):
        together.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return together.hexdigest()[:8]


def check_versions(fleet: Fleet) -> list[Finding]:
    """Equal on all nodes and here, within what this package asks for, and not known to be vulnerable."""
    nodes, findings = answered(CHECK, everywhere(fleet, versions_here), INSTALL)
    here = versions_here()
    for name in here:
        findings += _unlike(name, here[name], {node: versions[name] for node, versions in nodes.items()})
    for name in PACKAGES:
        every = {here[name], *(versions[name] for versions in nodes.values())}
        findings += [finding for version in sorted(every) for finding in judge(name, version)]
    if findings:
        return findings
    found = ", ".join(f"{name} {version}" for name, version in here.items() if name != "code")
    alike = f"; alike on {len(nodes)} nodes" if len(nodes) > 1 else ""
    return [Finding(check=CHECK, level="green", found=found + alike, figures=dict(here))]


def _unlike(name: str, here: str, versions: dict[str, str]) -> list[Finding]:
    others: dict[str, list[str]] = {}
    for node, version in versions.items():
        if version != here:
            others.setdefault(version, []).append(node)
    return [
        Finding(
            check=CHECK,
            level="yellow" if name == "mlflow" else "red",  # which only the driver speaks to
            found=f"{name} {here} here, {version} on {names_of(nodes)}",
            advice=INSTALL,
        )
        for version, nodes in others.items()
    ]


def judge(name: str, version: str) -> list[Finding]:
    """What is wrong with a version of a package, if something is."""

    def finding(level: Any, found: str, advice: str) -> list[Finding]:
        return [Finding(check=CHECK, level=level, found=found, advice=advice)]

    if version == "missing":
        return finding("red", f"{name} is not installed", INSTALL)
    if Version(version) < Version(SAFE_FROM[name]):
        return finding(
            "red", f"{name} {version} has published holes that run code", f"Install {name} {SAFE_FROM[name]} or newer."
        )
    asked = _bounds().get(name)
    if asked is not None and not asked.specifier.contains(version, prereleases=True):
        return finding("yellow", f"{name} {version}, tested with {asked.specifier}", INSTALL)
    return []


def _bounds() -> dict[str, Requirement]:
    """What this package asks for; nothing where it runs from a job's folder and is not installed."""
    try:
        asked = [Requirement(text) for text in importlib.metadata.requires("cyclegan_dist") or []]
    except importlib.metadata.PackageNotFoundError:
        return {}
    return {requirement.name: requirement for requirement in asked if requirement.marker is None}
