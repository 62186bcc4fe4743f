"""Imports point one way (design, section 3), and the core runs without Ray, MLflow and WebDataset."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY

ROOT = Path(__file__).parent.parent
# From top to bottom; a module may import from its own room and from those below.
ROOMS = [
    ["pipelines"],
    ["train"],
    ["api"],
    ["orchestration"],
    ["operations"],
    ["reproduction"],
    ["comparison", "leaderboard"],
    ["promotion", "paper"],
    ["sweep", "study", "style", "watch"],
    ["evaluation"],
    ["training"],
    ["browser", "registry", "service", "translation"],
    ["models"],
    ["checkpoint"],
    ["config"],
    ["step"],
    ["alerts", "methods"],
    ["data", "tracking"],
    ["networks", "pages", "storage"],
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


@functools.cache
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
                    "application",
                    "cluster",
                    "preemption",
                    "preparing",
                    "probing",
                    "process_group",
                    "ranks",
                    "ray_service",
                    "replicas",
                    "serving",
                    "standby",
                    "training",
                    "translating",
                    "tuning",
                )
            },
        ),
        (
            "mlflow",
            {
                "cyclegan_dist.tracking.mlflow_places",
                "cyclegan_dist.tracking.mlflow_run",
                "cyclegan_dist.tracking.mlflow_sweep",
                "cyclegan_dist.tracking.refused",
                "cyclegan_dist.registry.author",
                "cyclegan_dist.registry.download",
                "cyclegan_dist.registry.in_use",
                "cyclegan_dist.registry.log",
                "cyclegan_dist.registry.models",
                "cyclegan_dist.registry.versions",
                "cyclegan_dist.models.mlflow_model",
            },
        ),
        ("webdataset", set()),  # the tests read and compare shards with it
    ],
)
def test_each_heavy_library_is_imported_in_one_place(library: str, allowed: set[str]) -> None:
    users = {module_name(path) for path in MODULES if any(name.split(".")[0] == library for name in imported(path))}
    assert users <= allowed


@pytest.mark.parametrize("name", ["pix2pix", "simgan", "feature_gan", "bigan"])
def test_nothing_outside_methods_refers_to_a_method(name: str) -> None:
    """A method is its two files, one line in methods/available.py and a preset."""
    named = {module_name(path) for path in MODULES if name in path.read_text().lower()}
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
import os
for name in ("pipe2", "sched_getaffinity", "sched_setaffinity", "posix_fadvise", "memfd_create", "pidfd_open"):
    delattr(os, name)  # as on macOS, which has no /proc either
from pathlib import Path
read_text = Path.read_text
def without_proc(path, *arguments, **options):
    return read_text(path if path.parts[:2] != ("/", "proc") else Path("/nowhere"), *arguments, **options)
Path.read_text = without_proc
sys.argv = ["train", "demo", "--launcher", "local", "--tracking.mlflow", "False", "--data.path", sys.argv[1], "--stop_after", "8",
            "--every.checkpoint", "0"]
sys.exit(main())
"""


BARE = """
import sys
from pathlib import Path
for name in {absent}:
    sys.modules[name] = None
from cyclegan_dist.config.config import check_config
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.step.distributed import join
from cyclegan_dist.training.run_folder import open_run
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import train
from cyclegan_dist.translation.job import Job
from cyclegan_dist.translation.targets import shard_tasks
from cyclegan_dist.translation.work import JobWorker
tree, world = {tree}, join("cpu")
for stop_after in (6, 10):  # the second time from the checkpoint of the first
    config = open_run(check_config({{**tree, "stop_after": stop_after}}, "test"))
    assert train(config, world, StopRequest(config.run_dir, world)) == "FINISHED"
newest = max((config.run_dir / "checkpoints").glob("step-*"))
assert newest.name.endswith("5"), newest
assert "resumed at step 3" in (config.run_dir / "metrics.jsonl").read_text()
job = Job(snapshot=str(max((config.run_dir / "snapshots").iterdir())), direction="AB", device="cpu", dataset=config.data.path)
tasks = shard_tasks(open_manifest(job.dataset), "A", Path("translated"))
assert JobWorker(job)(tasks).written == 7
"""
ABSENT = (
    "annotated_types",
    "matplotlib",
    "mlflow",
    "optuna",
    "pydantic",
    "ray",
    "requests",
    "rich",
    "scipy",
    "torchmetrics",
    "tyro",
    "webdataset",
)


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)


def test_the_core_trains_with_torch_alone() -> None:
    done = run(CORE)
    assert done.returncode == 0, done.stderr


def test_a_whole_training_needs_no_ray_mlflow_or_webdataset(dataset: Path, own_home: Path) -> None:
    done = run(TRAINING, str(dataset))
    assert done.returncode == 0, done.stderr
    assert (own_home / "runs" / "demo" / "snapshots").is_dir()


def test_a_bare_gpu_machine_trains_resumes_and_translates(dataset: Path, own_home: Path) -> None:
    tree = {**TINY, "data": {**TINY["data"], "path": str(dataset)}}
    done = run(BARE.format(absent=ABSENT, tree=tree))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (own_home / "translated" / "A").iterdir()) == ["A-000000.tar", "A-000001.tar"]


def test_a_missing_package_of_the_command_line_is_named_in_one_line() -> None:
    done = run('import sys; sys.modules["tyro"] = None; import cyclegan_dist.train')
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "tyro" in done.stderr and "pip install" in done.stderr


# In this order one process can import them all: what a module may load, those after it may load too.
LAUNCHERS = {
    "cyclegan_dist.orchestration.launch": ["torch", "ray", "webdataset"],
    "cyclegan_dist.orchestration.training": ["torch", "ray.train", "webdataset"],
    "cyclegan_dist.orchestration.serving": ["torch", "ray.serve"],
    "cyclegan_dist.orchestration.ranks": ["torch", "torchvision", "webdataset"],
    "cyclegan_dist.orchestration.plugins": ["torchvision", "webdataset"],
}
LOADED = """
import importlib, sys
for module, heavy in {launchers}.items():
    importlib.import_module(module)
    print(module, *(name for name in heavy if name in sys.modules))
"""


def test_a_launcher_does_not_wait_for_what_only_ranks_need() -> None:
    done = run(LOADED.format(launchers=LAUNCHERS))
    assert done.stdout.splitlines() == [*LAUNCHERS], done.stderr
