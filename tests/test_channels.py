"""Domains of other than three channels: from files to a trained run, its grids, pages, translations and served model."""

import base64
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.images import decode
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.step.distributed import World
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import train
from pipelines.gallery import Gallery, gallery
from pipelines.translate import Translate
from pipelines.translate import run as translate
from tests.conftest import size_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::Warning:mlflow")]


@pytest.fixture
def four_and_one(tmp_path: Path) -> Path:
    """A: four channels. B: grey pictures."""
    rng = np.random.default_rng(0)
    for domain in "AB":
        (tmp_path / domain).mkdir()
    for i in range(4):
        np.save(tmp_path / "A" / f"{i}.npy", rng.integers(0, 256, (24, 28, 4), dtype=np.uint8))
        Image.fromarray(rng.integers(0, 256, (24, 24), dtype=np.uint8)).save(tmp_path / "B" / f"{i}.png")
    prepare(PrepareConfig(tmp_path / "A", tmp_path / "B", tmp_path / "out", load_size=22, workers=1))
    return tmp_path / "out"


def finish(config: Config) -> None:
    world = World(0, 1, torch.device("cpu"))
    assert train(config, world, StopRequest(config.run_dir, world)) == "FINISHED"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib")
def test_four_channels_and_one(tiny_run: Callable[..., Config], four_and_one: Path, tmp_path: Path) -> None:
    config = tiny_run(
        data__path=str(four_and_one),
        method__input_nc=4,
        method__output_nc=1,
        method__lambda_identity=0,
        every__samples=8,
    )
    finish(config)
    grids = list((config.run_dir / "samples").iterdir())
    assert len(grids) == 3 and all(size_of(path) == (4 * 18 + 2, 6 * 18 + 4) for path in grids)

    assert translate(Translate(str(config.run_dir), str(tmp_path / "A"), str(tmp_path / "AB"))) == 0
    assert translate(Translate(str(config.run_dir), str(tmp_path / "B"), str(tmp_path / "BA"), direction="BA")) == 0
    assert np.load(tmp_path / "AB" / "0.npy").shape == (24, 28, 1)
    assert np.load(tmp_path / "BA" / "0.npy").shape == (24, 24, 4)

    page = gallery(Gallery(config.run_dir, tmp_path / "A", tmp_path / "B", tmp_path / "page"))
    assert page.read_text().count("<figure>") == 8
    serve(Snapshot.open(config.run_dir), tmp_path)


def serve(snapshot: Snapshot, folder: Path) -> None:
    from cyclegan_dist.models.mlflow_model import ImageTranslator
    from cyclegan_dist.registry.models import example_input

    model = ImageTranslator()
    model.load_context(SimpleNamespace(artifacts={"snapshot": str(snapshot.folder)}))  # pyright: ignore
    for direction, source, channels in (("AB", "A/0.npy", (4, 1)), ("BA", "B/0.png", (1, 4))):
        which = {"direction": direction}
        data = (folder / source).read_bytes()
        images = pd.DataFrame({"image": [data, base64.b64encode(data).decode()]})
        one, two = (base64.b64decode(image) for image in model.predict(None, images, which)["image"])  # pyright: ignore
        assert one == two
        written = next((folder / direction).glob("0.*"))
        assert torch.equal(decode(one, channels[1]), decode(written, channels[1]))
        assert len(model.predict(None, example_input(channels[0]), which)) == 1  # pyright: ignore


def test_channels_that_do_not_fit_are_named(tiny_run: Callable[..., Config], four_and_one: Path) -> None:
    """Before any rank starts."""
    with pytest.raises(UsageError, match=r"domain A has images of mode C4: set method\.input_nc"):
        tiny_run(data__path=str(four_and_one))
    with pytest.raises(UsageError, match=r"domain B has images of mode L: set method\.output_nc"):
        tiny_run(data__path=str(four_and_one), method__input_nc=4, method__output_nc=4)
