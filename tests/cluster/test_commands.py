"""Tests that every command line in the files and in README.md is accepted by its program's parser."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cyclegan_dist.config.config import dump_config
from tests.cluster.commands import NotParsedError, command_lines, expanded, parse
from tests.cluster.files import SLURM, code_blocks, name_of, ray_clusters, shell_texts
from tests.conftest import MLFLOW

TEXTS = dict(shell_texts())
LINES = [(where, line) for where, text in TEXTS.items() for line in command_lines(text)]


@pytest.fixture
def presets(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The preset files of README.md, made by its commands."""
    made = [line for where, line in LINES if where.startswith("README") and "--dry_run" in line]
    assert len(made) == 4
    (tmp_path / "train.yaml").write_text(dump_config(parse(made[0]).config))
    sweep = {"base": "horse2zebra", "space": {"optim.lr": {"choice": [1e-4, 2e-4]}}, "num_trials": 2}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({**sweep, "scheduler": "none"}))
    yield {f"/shared/presets/{name}": str(tmp_path / name) for name in ("train.yaml", "sweep.yaml")}


@pytest.mark.parametrize(
    ("where", "line"),
    [pytest.param(w, x, marks=MLFLOW if x[0] == "mlflow" else []) for w, x in LINES],
    ids=[f"{i:02d}-{where.replace(' ', '-')}" for i, (where, _) in enumerate(LINES)],
)
def test_a_command_is_accepted(where: str, line: list[str], presets: dict[str, str]) -> None:
    parse([presets.get(word, word) for word in line])


def test_every_command_is_found() -> None:
    """The number of calls found equals the number of occurrences in the text."""
    for where, text in TEXTS.items():
        found = "\n".join(" ".join(w for w in line if " " not in w) for place, line in LINES if place == where)
        for call in ("cyclegan_dist.train ", "pipelines.", "ray start ", "ray job "):
            assert found.count(call) == text.count(call), f"{where}: {call}"
    assert {line[0] for _, line in LINES} == {"ray", "python", "mlflow"}


@pytest.mark.parametrize(
    "line",
    [
        "ray start --head --dashbord-host=127.0.0.1",
        "ray strat --head",
        "ray job submit --adress http://127.0.0.1:8265 -- python -m cyclegan_dist.train demo",
        "ray job submit -- python -m cyclegan_dist.train demo --optim.batchsize 2",
        "ray symmetric-run --address a:6379 --min-nodes 2 --gpus 1 -- python -m cyclegan_dist.train demo",
        "torchrun --nodes 2 -m cyclegan_dist.train demo",
        "torchrun --nnodes 2 -m cyclegan_dist.train dmeo",
        "python -m pipelines.prepare A B OUT --load_sise 286",
        "python -m pipelines.nothing",
    ],
)
def test_a_wrong_command_is_refused(line: str) -> None:
    (words,) = command_lines(line)
    with pytest.raises(NotParsedError):
        parse(words)


@pytest.mark.parametrize("owner", sorted(ray_clusters()))
def test_rays_start_parameters_are_accepted(owner: str) -> None:
    """KubeRay passes them to `ray start` as options."""
    spec = ray_clusters()[owner]
    for node, group in [("--head", spec["headGroupSpec"]), *(("--block", g) for g in spec["workerGroupSpecs"])]:
        parse(["ray", "start", node, *(f"--{key}={value}" for key, value in group["rayStartParams"].items())])


@pytest.mark.parametrize("path", SLURM, ids=name_of)
def test_scripts_are_valid_bash(path: Path) -> None:
    assert bash_n(path.read_text()) == ""


@pytest.mark.parametrize("block", code_blocks(), ids=range(len(code_blocks())))
def test_readme_commands_are_valid_bash(block: str) -> None:
    assert bash_n(block) == ""


def bash_n(text: str) -> Any:
    return subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=20).stderr


def test_an_unknown_variable_is_an_error() -> None:
    assert expanded("${PWD}/data") == "/home/me/data"
    with pytest.raises(KeyError):
        expanded("$PWDD/data")
