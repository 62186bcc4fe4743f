"""Drills F3, F4 and F7: known vulnerabilities of dependencies, unpickling, and pinned versions."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from cyclegan_dist.registry.sources import SETTINGS
from tests.faults.matrix import Measured, Stage, row

ROOT = Path(__file__).parents[2]
LOCK = ROOT / ".ci" / "hashes.txt"
PICKLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
# First version in which these vulnerabilities are fixed. Maintained by hand; `make audit` queries the databases.
FIXED = {
    "ray": ("2.54", "CVE-2026-27482, CVE-2023-48022 (with a token, from 2.52 on)"),
    "mlflow": ("3.11", "CVE-2026-4137, CVE-2026-2651, CVE-2026-2614"),
    "torch": ("2.11", "CVE-2026-4538, CVE-2026-24747, CVE-2025-32434"),
    "pillow": ("13.0", "CVE-2026-112403, CVE-2026-112393; CVE-2026-59199 to 59205"),
    "starlette": ("1.3.1", "PYSEC-2026-249, PYSEC-2026-248, CVE-2026-48710, CVE-2025-62727"),
    "aiohttp": ("3.14.4", "PYSEC-2026-4369, PYSEC-2026-4371"),
    "requests": ("2.32.4", "CVE-2024-47081"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "urllib3": ("2.5", "CVE-2025-50181, CVE-2025-50182"),
}
SAVE = """
import os, sys
import mlflow
class Payload(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[str]): return model_input
    def __reduce__(self): return os.system, (f"touch {sys.argv[2]}",)
mlflow.pyfunc.save_model(sys.argv[1], python_model=Payload(), pip_requirements=[])
"""
LOAD = """
import sys
from cyclegan_dist.registry.sources import use_store
if sys.argv[2] == "library": use_store()
import mlflow
mlflow.pyfunc.load_model(sys.argv[1])
"""


Number = tuple[int, ...]
Bound = tuple[str, Number]


def number(version: str) -> Number:
    """A version as a comparable tuple without trailing zeros."""
    parts = [int(part) for part in re.findall(r"\d+", version)]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def pins() -> dict[str, Number]:
    """The versions of constraints.txt."""
    lines = [line.partition("==") for line in (ROOT / "constraints.txt").read_text().split()]
    return {_plain(name): number(version) for name, _, version in lines}


def bounds() -> dict[str, list[Bound]]:
    """The version bounds in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    wanted = {_plain(re.split(r"[\[<>=]", text)[0]): re.findall(r"(>=|<)([\d.]+)", text) for text in texts}
    wanted.pop("cyclegan-dist", None)
    return {name: [(sign, number(version)) for sign, version in found] for name, found in wanted.items()}


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def vulnerable(names: list[str]) -> tuple[list[str], int, int]:
    """Pins and lower bounds of these packages below the fixed version, and the numbers of all pins and bounds."""
    pinned, fixed = pins(), {name: number(FIXED[name][0]) for name in names}
    lowest = {name: dict(found).get(">=", ()) for name, found in bounds().items() if name in names}
    old = [f"pin of {name}" for name in names if pinned[name] < fixed[name]]
    old += [f"bound of {name}" for name, low in lowest.items() if low < fixed[name]]
    return old, len(names), len(lowest)


@row(
    "F3",
    "MLflow with known vulnerabilities, or a pickled model in its store",
    "no such version is allowed; no pickle is loaded",
    slow=True,
)
def mlflow_vulnerabilities(stage: Stage) -> Measured:
    """Compare versions, and load a pickled model with MLflow's default settings, as a control, and with the library's."""
    old, pinned, bounded = vulnerable(["mlflow"])
    model, mark = stage.folder / "model", stage.folder / "executed"
    environment = {key: value for key, value in os.environ.items() if key != PICKLE}
    environment |= {"CYCLEGAN_DIST_HOME": str(stage.folder)}

    def run(code: str, *arguments: object) -> str:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120).stderr

    run(SAVE, model, mark)
    ran, errors = {}, ""
    for settings in ("default", "library"):
        mark.unlink(missing_ok=True)
        errors = run(LOAD, model, settings)
        ran[settings] = mark.exists()
    refused = PICKLE in errors
    return Measured(
        f"vulnerable {len(old)} of {pinned + bounded} pins and bounds; a pickled model's code run with MLflow's default "
        f"settings: {ran['default']}, with the library's: {ran['library']}, refused: {refused}",
        not old and SETTINGS[PICKLE] == "false" and ran == {"default": True, "library": False} and refused,
    )


@row(
    "F4",
    "torch and other packages with known vulnerabilities, code in files that are loaded",
    "no such version is allowed; nothing is unpickled",
)
def library_vulnerabilities(stage: Stage) -> Measured:
    old, pinned, bounded = vulnerable([name for name in FIXED if name != "mlflow"])
    loads, safe, unpickling = 0, 0, []
    for path in [*ROOT.glob("cyclegan_dist/**/*.py"), *ROOT.glob("pipelines/*.py")]:
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name, options = ast.unparse(call.func), {word.arg: ast.unparse(word.value) for word in call.keywords}
            if name == "torch.load":
                loads, safe = loads + 1, safe + (options.get("weights_only") == "True")
            if (
                re.fullmatch(r"(cloud)?pickle\.loads?|marshal\.loads?|eval|exec", name)
                or options.get("allow_pickle") == "True"
            ):
                unpickling.append(f"{path.name}: {name}")
    return Measured(
        f"vulnerable {len(old)} {old or ''} of {pinned + bounded} pins and bounds of {pinned} packages; torch.load with "
        f"weights_only {safe} of {loads}; other calls that unpickle or evaluate {len(unpickling)} {unpickling or ''}",
        not old and safe == loads > 0 and not unpickling,
    )


@row("F7", "a dependency is not the tested version", "every dependency is pinned and locked by its hash")
def supply_chain(stage: Stage) -> Measured:
    pinned, wanted = pins(), bounds()
    entries = re.findall(r"^(\S+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", LOCK.read_text(), re.MULTILINE)
    locked = {_plain(name): number(version) for name, version, _ in entries}
    same = sum(locked.get(name) == version for name, version in pinned.items())
    meets = {">=": lambda one, two: one >= two, "<": lambda one, two: one < two}
    fits = sum(
        name in pinned and all(meets[sign](pinned[name], limit) for sign, limit in found)
        for name, found in wanted.items()
    )
    other = [name for name, version in pinned.items() if _installed(name) not in (None, version)]
    return Measured(
        f"{fits} of {len(wanted)} dependencies pinned, {len(pinned)} with their own dependencies; with SHA-256 in "
        f"{LOCK.name} {same}; installed here in another version {len(other)} {other[:3] or ''}",
        fits == len(wanted) and same == len(pinned) == len(entries) and not other,
    )


def _installed(name: str) -> Number | None:
    try:
        return number(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:  # an extra that is not installed
        return None
