"""Models of two directions of other methods than CycleGAN: trained, evaluated, translated, exported and served."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from cyclegan_dist.config.config import Config
from cyclegan_dist.evaluation import evaluate
from cyclegan_dist.models.snapshot import Snapshot
from pipelines import export, translate
from tests.conftest import Answer, make_run, size_of, write_images
from tests.service.running import picture, post_json, running
from tests.training.trainings import go

Command = Callable[..., Answer]

DISCRIMINATOR = {"ndf": 4, "n_layers_D": 1}
METHODS = {
    "bigan": {"generator": {"ngf": 4, "n_blocks": 1}, "discriminator": DISCRIMINATOR, "pool_size": 3},
    "dual_cut": {"generator": {"ngf": 4, "n_blocks": 1}, "discriminator": DISCRIMINATOR, "nce_patches": 16},
    "cogan": {"generator": {"ngf": 4, "n_blocks": 1, "z_steps": 2}, "discriminator": DISCRIMINATOR},
}


@pytest.fixture(params=METHODS)
def run(request: pytest.FixtureRequest, dataset: Path, own_home: Path) -> Config:
    """A finished run of two steps."""
    method = {"name": request.param, **METHODS[request.param]}
    config = make_run(own_home, method=method, data__path=str(dataset), every__samples=4, stop_after=4)
    go(config)
    return config


def test_a_run_is_used_in_every_way(run: Config, dataset: Path, tmp_path: Path, command: Command) -> None:
    snapshot, coupled = Snapshot.open(run.run_dir), run.method.name == "cogan"
    assert (snapshot.method, snapshot.directions) == (run.method.name, ("AB", "BA"))
    assert len(list((run.run_dir / "samples").iterdir())) == 2

    options = ("--data", dataset, "--device", "cpu", "--no-mlflow", "--metrics", "content")
    code, _, err = command(evaluate.main, run.run_dir, *options)
    assert code == 0, err
    (found,) = run.run_dir.rglob("metrics.json")
    assert {"eval/content_ssim_AB", "eval/content_ssim_BA"} <= set(json.loads(found.read_text())["figures"])

    images = write_images(tmp_path / "in", 2, size=20)
    for direction in snapshot.directions:
        code, _, err = command(translate.main, run.run_dir, images, tmp_path / direction, "--direction", direction)
        assert code == 0, err
        assert [size_of(path) for path in (tmp_path / direction).glob("*.png")] == [(20, 20)] * 2

    code, out, err = command(export.main, run.run_dir, tmp_path / "out", "--formats", "safetensors")
    assert code == 0 and "G_BA.safetensors" in out, err
    assert Snapshot.open(tmp_path / "out").digest() == snapshot.digest()
    if coupled:
        code, _, err = command(export.main, run.run_dir, tmp_path / "pt2", "--formats", "safetensors", "pt2")
        assert code == 2 and not (tmp_path / "pt2").exists()
        assert err.startswith("error: images are translated by optimisation of the latent, 2 steps: no program without")

    with running(snapshot.folder) as url:
        assert ("optimisation of the latent, 2 steps" in requests.get(url, timeout=10).text) == coupled
        asked = {"image": base64.b64encode(picture()).decode(), "reconstruction": True}
        made = post_json(url, asked)
        assert made.status_code == 200 and made.json()["reconstruction"]
