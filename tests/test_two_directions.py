"""A model of both directions by another method than CycleGAN: trained, translated, evaluated, shown, exported, served."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.evaluation import evaluate
from cyclegan_dist.models.snapshot import Snapshot
from pipelines import export, gallery, translate
from tests.conftest import Answer, write_images
from tests.service.running import picture, post, post_json, running
from tests.training.trainings import differences, final_state, go

Command = Callable[..., Answer]
BIGAN = {
    "name": "bigan",
    "pool_size": 3,
    "generator": {"ngf": 4, "n_blocks": 1},
    "discriminator": {"ndf": 4, "n_layers_D": 1},
}


@pytest.fixture
def run(tiny_run: Callable[..., Config]) -> Config:
    """A finished run of eight steps."""
    config = tiny_run(method=BIGAN, every__samples=4, stop_after=16)
    go(config)
    return config


def test_a_stopped_run_continues_as_if_it_had_not_stopped(run: Config, tiny_run: Callable[..., Config]) -> None:
    for images in (8, 16):
        stopped = tiny_run(method=BIGAN, name="stopped", stop_after=images)
        go(stopped)
    assert not differences(final_state(run, 1), final_state(stopped, 1))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib")
def test_it_is_translated_evaluated_shown_exported_and_served(
    run: Config, dataset: Path, folders: tuple[Path, Path], tmp_path: Path, command: Command
) -> None:
    snapshot = Snapshot.open(run.run_dir)
    assert (snapshot.method, snapshot.directions) == ("bigan", ("AB", "BA"))
    images = write_images(tmp_path / "in", 2)
    for direction in snapshot.directions:
        code, _, err = command(translate.main, run.run_dir, images, tmp_path / direction, "--direction", direction)
        assert code == 0 and len(list((tmp_path / direction).glob("*.png"))) == 2, err
    code, _, err = command(evaluate.main, run.run_dir, "--data", dataset, "--device", "cpu", "--no-mlflow")
    assert code == 0, err
    found = json.loads((run.run_dir / "evaluations" / snapshot.folder.name / "metrics.json").read_text())["figures"]
    assert {"kd/untrained_AB", "kd/untrained_BA", "eval/cycle_l1_A", "eval/cycle_l1_B"} <= found.keys()
    code, _, err = command(gallery.main, run.run_dir, *folders, tmp_path / "page")
    assert code == 0, err
    code, _, err = command(export.main, run.run_dir, tmp_path / "out", "--formats", "safetensors")
    assert code == 0 and Snapshot.open(tmp_path / "out").digest() == snapshot.digest(), err
    with running(snapshot.folder) as url:
        answers = [post(f"{url}translate?direction={direction}", data=picture()) for direction in snapshot.directions]
        assert [answer.status_code for answer in answers] == [200, 200] and answers[0].content != answers[1].content
        image = base64.b64encode(picture()).decode()
        assert "reconstruction" in post_json(url, {"image": image, "reconstruction": True}).json()
