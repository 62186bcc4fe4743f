"""Shared by all tests: small images on disk, a small data set, small configs, and ranks that are forked."""

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import functools
import importlib.util
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Tests start commands in folders of their own, where `pipelines` is found by this alone.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_dist.config.config import Config, check_config
from cyclegan_dist.errors import run_command
from cyclegan_dist.training.run_folder import open_run
from tests.mlflow_tables import copy_tables

torch.set_num_threads(1)
# A shell's background processes ignore it, and so would all that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The first backward decides for which kinds of device autograd starts threads. After torch.export has run there are
# more of them, and ranks that are forked then could not differentiate.
torch.zeros(1, requires_grad=True).sum().backward()

# For tests that load MLflow: its warnings, and those of what it is made of, are theirs.
MLFLOW = [
    pytest.mark.slow,
    *(pytest.mark.filterwarnings(f"ignore::Warning:{name}") for name in ("mlflow", "alembic", "sqlalchemy")),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


HAS_TIMEOUT = importlib.util.find_spec("pytest_timeout") is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Accept the option `timeout` of pyproject.toml where pytest-timeout is not installed."""
    if not HAS_TIMEOUT:
        parser.addini("timeout", "seconds that a test may take; ignored")


def pytest_configure(config: pytest.Config) -> None:
    """Accept the mark `timeout` where pytest-timeout is not installed."""
    if not HAS_TIMEOUT:
        config.addinivalue_line("markers", "timeout: seconds that the test may take; ignored")


def pytest_runtest_setup() -> None:
    copy_tables()


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs and MLflow stores of a test stay in its own folder."""
    # A test before may have set it; with more than one, forks of this process hang, and others slow it down.
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CYCLEGAN_DIST_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)  # set where a test has loaded Ray for a cluster of its own
    return tmp_path


Answer = tuple[int, str, str]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command's main function as from a shell: exit code, standard output, standard error."""

    def call(main: Callable[[], int | None], *arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run_command(main)
        out = capsys.readouterr()
        return int(end.value.code or 0), out.out, out.err

    return call


def write_images(folder: Path, count: int, size: int = 24, extension: str = "png", seed: int = 0) -> Path:
    """Random images `0000.png`, ... in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:04d}.{extension}")
    return folder


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of an image file."""
    with Image.open(path) as image:
        return image.size


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Seven images of A and ten of B."""
    return write_images(tmp_path / "A", 7, seed=1), write_images(tmp_path / "B", 10, seed=2)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set: seven images of A and ten of B, 24 x 24, in shards of four."""
    return make_dataset(tmp_path_factory.mktemp("dataset"))


def make_dataset(root: Path, seed: int = 1) -> Path:
    """Write a data set `out` into `root`, and its files: seven images of A and ten of B, 24 x 24, in shards of four."""
    for name, content in _dataset(seed).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root / "out"


@functools.cache
def _dataset(seed: int) -> dict[str, bytes]:
    """The content of its files: preparing it anew for each test would take a fifth of a second."""
    from cyclegan_dist.data.prepare import prepare
    from cyclegan_dist.data.prepare_config import PrepareConfig

    with tempfile.TemporaryDirectory(prefix="dataset") as folder:
        root = Path(folder)
        a, b = write_images(root / "A", 7, seed=seed), write_images(root / "B", 10, seed=seed + 1)
        prepare(PrepareConfig(a, b, root / "out", samples_per_shard=4, workers=1))
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def named(dataset: Path, out: Path, names: str = "summer winter") -> Path:
    """A copy of a data set whose domains have names."""
    from cyclegan_dist.data.domain_names import check_names
    from cyclegan_dist.data.manifest import MANIFEST, SCHEMA, SOURCE, open_manifest
    from cyclegan_dist.data.shards import write_manifest

    shutil.copytree(dataset, out)
    manifest = open_manifest(str(dataset), [*SCHEMA.names, *SOURCE.names])
    rows, called = manifest.table.to_pylist(), check_names(names.split())
    write_manifest(str(out / MANIFEST), rows, manifest.shards, paired=manifest.paired, domain_names=called)
    return out


TINY: dict[str, Any] = {
    "name": "tiny",
    "method": {
        "pool_size": 3,
        "generator": {"ngf": 4, "n_blocks": 1},
        "discriminator": {"ndf": 4, "n_layers_D": 1},
    },
    "data": {"load_size": 20, "crop_size": 16, "workers": 0},
    "optim": {"batch_size": 2},
    "schedule": {"n_epochs": 2, "n_epochs_decay": 2},
    "every": {"log": 4, "samples": 0, "checkpoint": 8, "snapshot": 0},
    "tracking": {"mlflow": False},
    "world": {"device": "cpu", "timeout_s": 30},
}


@pytest.fixture
def tiny_run(dataset: Path, own_home: Path) -> Callable[..., Config]:
    """Makes an opened run of the tiny config; keyword arguments are dotted keys with __ for the dot."""
    return lambda **changes: make_run(own_home, **{"data__path": str(dataset), **changes})


def make_run(home: Path, **changes: Any) -> Config:
    """An opened run of the tiny config with its folder below `home`."""
    tree: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in TINY.items()}
    if "method__name" in changes:  # of another method, which has no history
        del tree["method"]["pool_size"]
    for key, value in {"runs_dir": str(home / "runs"), **changes}.items():
        *parents, leaf = key.split("__")
        node = tree
        for parent in parents:
            node[parent] = dict(node.get(parent, {}))
            node = node[parent]
        node[leaf] = value
    return open_run(check_config(tree, "test"))
