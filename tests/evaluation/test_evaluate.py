"""The command, as typed."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.evaluate import labels_name, main
from tests.conftest import Answer
from tests.training.trainings import go

Command = Callable[..., Answer]


@pytest.fixture
def run_dir(tiny_run: Callable[..., Config]) -> Path:
    config = tiny_run(stop_after=4)
    go(config)
    return config.run_dir


def test_a_run_is_measured(run_dir: Path, dataset: Path, command: Command) -> None:
    code, out, _ = command(main, run_dir, "--data", dataset)
    assert code == 0 and "kd/untrained_AB" in out and "grey levels" in out
    folder = run_dir / "evaluations" / "nimg-000000004"
    assert f"page: {folder / 'index.html'}" in out
    assert json.loads((folder / "metrics.json").read_text())["nimg"] == 4


def test_other_palettes_and_segmenters_have_other_names(tmp_path: Path) -> None:
    for name in ("one", "two", "own/streets.yaml", "other/streets.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    palettes = ["streets", "cityscapes", f"{tmp_path}/own/streets.yaml", f"{tmp_path}/other/streets.yaml"]
    both = [(palette, "") for palette in palettes] + [("streets", f"{tmp_path}/one"), ("streets", f"{tmp_path}/two")]
    found = [labels_name(EvaluationConfig(palette=palette, segmenter=segmenter)) for palette, segmenter in both]
    assert found[:2] == ["streets", "cityscapes"] and len(set(found)) == 6
    assert labels_name(EvaluationConfig()) == ""
    own = set[str]()
    for text in ("one", "two"):  # edited, or another file of the same name
        (tmp_path / "my labels+.yaml").write_text(text)
        own.add(labels_name(EvaluationConfig(palette=str(tmp_path / "my labels+.yaml"))))
    assert len(own) == 2 and all(re.fullmatch("my_labels_-[0-9a-f]{8}", name) for name in own)


@pytest.mark.filterwarnings("ignore::Warning")  # of MLflow's
def test_user_errors_are_one_line(run_dir: Path, dataset: Path, tmp_path: Path, command: Command) -> None:
    for arguments, message in (
        ([run_dir, "--data", dataset, "--split", "test"], "has no part test: make it with"),
        ([run_dir, "--data", tmp_path / "none"], "no data set at"),
        ([tmp_path / "none", "--data", dataset], "neither a snapshot nor a run"),
        ([run_dir, "--data", dataset, "--metrics", "fid"], "unknown metric 'fid'"),
        ([run_dir, "--data", dataset, "--features", "inception:x"], "there is no file x"),
        (["models:/none@champion", "--data", dataset], "there is no MLflow store at sqlite:"),
        ([run_dir, "--data", dataset, "--out", "/proc/x"], "cannot write /proc/x"),
    ):
        code, _, err = command(main, *arguments)
        assert code == 2 and message in err and err.count("\n") == 1, err


def test_an_unreachable_registry_is_reported_soon_and_without_its_password(
    dataset: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    began = time.monotonic()
    code, _, err = command(main, "models:/horses@champion", "--data", dataset)
    assert code == 2 and "models:/horses@champion cannot be loaded" in err and "secret" not in err
    assert time.monotonic() - began < 30
