"""Models of other methods are promoted, and loaded by their registered names."""

from pathlib import Path

import pytest
from PIL import Image

import cyclegan_dist
from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.promotion.gate import Gate
from tests.conftest import MLFLOW, make_run, write_images
from tests.promotion.setting import Setting, promoting
from tests.training.trainings import ALONE, go

pytestmark = [*MLFLOW, pytest.mark.filterwarnings("ignore::Warning")]

# CycleGAN and feature_gan have tests of their own; dual_cut has the directions of bigan and the networks of cut.
METHODS = {
    "pix2pix": {"generator": {"arch": "resnet", "ngf": 4, "n_blocks": 1}},
    "simgan": {},
    "bigan": {},
    "cut": {"nce_patches": 16},
    "cogan": {"generator": {"ngf": 4, "n_blocks": 1, "z_steps": 2}},  # the last one: see below
}
SMALL = {"generator": {"ngf": 4, "n_blocks": 1}, "discriminator": {"ndf": 4, "n_layers_D": 1}}


def test_models_of_each_kind_are_promoted(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one store, whose creation takes longer than all of them."""
    from cyclegan_dist.promotion import evidence
    from cyclegan_dist.promotion.promote import Promotion

    a, b = write_images(tmp_path / "A", 6, seed=1), write_images(tmp_path / "B", 6, seed=2)
    prepare(PrepareConfig(a, b, tmp_path / "pairs", pairs="names", workers=1))
    runs = {
        name: make_run(
            own_home,
            name=name,
            method={"name": name, **SMALL, **options},
            data__path=str(tmp_path / "pairs"),
            stop_after=4,
        )
        for name, options in METHODS.items()
    }
    image = Image.new("RGB", (20, 24), "brown")
    manifest = open_manifest(str(tmp_path / "pairs"), (*READING, "name"))
    with promoting(runs["cut"], tmp_path / "pairs", own_home), monkeypatch.context() as patch:
        for name, run in runs.items():
            go(run)
            if name == "cogan":  # whose translation no program can do
                patch.setattr(evidence, "available_formats", lambda: ["safetensors", "pt2"])
            promotion = Promotion(name, manifest, Gate(veto=()), EvaluationConfig(metrics=("distances",)), ALONE)
            assert promotion(Setting(run, tmp_path / "pairs").candidate()).champion == "1", name
            loaded = cyclegan_dist.load(f"models:/{name}@champion", device="cpu").translate(image)
            assert loaded.tobytes() == cyclegan_dist.load(run.run_dir, device="cpu").translate(image).tobytes(), name
