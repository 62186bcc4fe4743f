"""Imports point one way (design, section 3), and the core runs without Ray, MLflow and WebDataset."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From top to bottom; a module may import from its own room and from those below.
ROOMS = [
    ["pipelines"],
    ["train"],
    ["orchestration"],
    ["operations"],
    ["promotion"],
    ["sweep"],
    ["evaluation"],
    ["training"],
    ["registry", "service", "translation"],
    ["models"],
    ["checkpoint"],
    ["config"],
    ["step"],
    ["methods"],
    ["data", "tracking"],
    ["networks", "storage"],
    ["errors"],
]
# Modules that read files of the published code, which is called pytorch-CycleGAN-and-pix2pix.
PUBLISHED_CODE = {"cyclegan_dist.models.reference_weights", "cyclegan_dist.networks.unet", "pipelines.convert"}
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
# Config dataclasses are data: they may be read from above their own room's code, and they import nothing but each other.
MODULES = sorted([*ROOT.glob("cyclegan_dist/**/*.py"), *ROOT.glob("pipelines/*.py")])


def room(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "pipelines":
        return "pipelines"
    return parts[1] if parts[0] == "cyclegan_dist" and len(parts) > 1 else None


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "cyclegan_dist"
                else {node.module}
            )
    return names


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_nothing_is_imported_upwards(path: Path) -> None:
    own = room(module_name(path))
    for name in imported(path):
        other = room(name)
        if own is None or other in (None, own, "__version__"):
            continue
        assert own in LEVEL and other in LEVEL, f"{own} or {other} has no room"
        assert LEVEL[own] < LEVEL[other], f"{module_name(path)} imports {name}, which is not below it"


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        (
            "ray",
            {
                f"cyclegan_dist.orchestration.{name}"
                for name in (
                    "cluster",
                    "probing",
                    "process_group",
                    "ranks",
                    "serving",
                    "training",
                    "translating",
                    "tuning",
                )
            },
        ),
        (
            "mlflow",
            {
                "cyclegan_dist.tracking.mlflow_run",
                "cyclegan_dist.tracking.mlflow_sweep",
                "cyclegan_dist.registry.models",
                "cyclegan_dist.registry.versions",
                "cyclegan_dist.models.mlflow_model",
            },
        ),
        ("webdataset", {"cyclegan_dist.data.shards"}),
    ],
)
def test_each_heavy_library_is_imported_in_one_place(library: str, allowed: set[str]) -> None:
    users = {module_name(path) for path in MODULES if any(name.split(".")[0] == library for name in imported(path))}
    assert users <= allowed


def test_nothing_outside_methods_refers_to_pix2pix() -> None:
    """A method is its two files, one line in methods/available.py and a preset."""
    named = {module_name(path) for path in MODULES if "pix2pix" in path.read_text().lower()}
    assert {name for name in named if not name.startswith("cyclegan_dist.methods.")} <= PUBLISHED_CODE


def test_files_stay_short() -> None:
    long = {module_name(path): n for path in MODULES if (n := len(path.read_text().splitlines())) > 300}
    assert not long


CORE = """
import sys
for name in ("ray", "mlflow", "webdataset", "pyarrow", "pydantic", "tyro", "rich"):
    sys.modules[name] = None
import torch
from cyclegan_dist.step.distributed import join
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.update import Step
torch.manual_seed(0)
small = CycleGANConfig(generator=GeneratorConfig(ngf=4, n_blocks=1), discriminator=DiscriminatorConfig(ndf=4, n_layers_D=1))
step = Step(CycleGAN(small), OptimConfig(), join())
images = {"real_A": torch.rand(1, 3, 16, 16) * 2 - 1, "real_B": torch.rand(1, 3, 16, 16) * 2 - 1}
losses = [float(step([images], 2e-3)["cycle_A"]) for _ in range(20)]
assert losses[-1] < losses[0], losses
"""

TRAINING = """
import sys
for name in ("ray", "mlflow", "webdataset"):
    sys.modules[name] = None
from cyclegan_dist.train import main
sys.argv = ["train", "demo", "--launcher", "local", "--tracking.mlflow", "False", "--data.path", sys.argv[1], "--stop_after", "8",
            "--every.checkpoint", "0"]
sys.exit(main())
"""


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)


def test_the_core_trains_with_torch_alone() -> None:
    done = run(CORE)
    assert done.returncode == 0, done.stderr


def test_a_whole_training_needs_no_ray_mlflow_or_webdataset(dataset: Path, own_home: Path) -> None:
    done = run(TRAINING, str(dataset))
    assert done.returncode == 0, done.stderr
    assert (own_home / "runs" / "demo" / "snapshots").is_dir()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("cyclegan_dist.orchestration.launch", ["torch", "ray", "webdataset"]),
        ("cyclegan_dist.orchestration.training", ["torch", "ray.train", "webdataset"]),
        ("cyclegan_dist.orchestration.ranks", ["torch", "torchvision", "webdataset"]),
        ("cyclegan_dist.orchestration.plugins", ["torchvision", "webdataset"]),
    ],
)
def test_a_launcher_does_not_wait_for_what_only_ranks_need(module: str, heavy: list[str]) -> None:
    done = run(f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr
