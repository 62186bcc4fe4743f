"""Domains of more than 8 bits: from files to batches, a trained run, its grids, its card and its evaluation images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.loader import RankSlice, batches, fixed_images
from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.data.plan import Plan
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.verify import check_shards
from cyclegan_dist.evaluation.images import DomainImages
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.step.distributed import World
from cyclegan_dist.tracking.journal import read_records
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import train

CHANNELS = {"A": 1, "B": 5}


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A: 12 bits in 16-bit TIFF, and one picture of 8. B: five bands of floating-point values."""
    rng = np.random.default_rng(0)
    for domain in "AB":
        (tmp_path / domain).mkdir()
    for i in range(4):
        values = rng.integers(0, 4096, (24, 28)).astype(np.uint16)
        if i == 3:
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / "A" / f"{i}.png")
        else:
            tifffile.imwrite(tmp_path / "A" / f"{i}.tif", values)
        np.save(tmp_path / "B" / f"{i}.npy", rng.uniform(-1, 3, (24, 24, 5)).astype(np.float32))
    ranges = {"white_a": "4095", "black_b": "-1", "white_b": "3"}
    prepare(
        PrepareConfig(tmp_path / "A", tmp_path / "B", tmp_path / "out", workers=1, **ranges), report=lambda line: None
    )
    return tmp_path / "out"


def first_batches(root: Path, **options) -> list[dict[str, torch.Tensor]]:
    manifest = open_manifest(str(root))
    plan = Plan(manifest.samples, 0, 2, 100)
    config = DataConfig(path=str(root), flip=False, **{"load_size": 20, "crop_size": 16, "workers": 0, **options})
    stream = batches(manifest, plan, config, RankSlice(0, 1, 2), first_step=0, multiple=4, channels=CHANNELS)
    found = [next(stream) for _ in range(4)]
    stream.close()
    return [batch.images(torch.device("cpu"), torch.float32, torch.contiguous_format) for batch in found]


def test_batches_hold_the_values_of_the_files(deep: Path) -> None:
    whole = first_batches(deep, preprocess="none")
    files = {tuple(np.load(deep.parent / "B" / f"{i}.npy").ravel()[:3].tolist()): i for i in range(4)}
    for batch in whole:
        for image in batch["real_B"]:
            restored = (image.permute(1, 2, 0).numpy() + 1) * 2 - 1
            wanted = min(files, key=lambda values: np.abs(np.array(values) - restored.ravel()[:3]).max())
            assert np.abs(restored - np.load(deep.parent / "B" / f"{files[wanted]}.npy")).max() < 1e-6
        for image in batch["real_A"]:
            values = (image[0].numpy() + 1) * 2047.5
            known = [tifffile.imread(deep.parent / "A" / f"{i}.tif") for i in range(3)]
            known.append(np.asarray(Image.open(deep.parent / "A" / "3.png")) / 255 * 4095)
            assert min(np.abs(values - one).max() for one in known) < 2e-3  # of 4096 levels


def test_a_cache_changes_nothing_and_resizing_stays_in_range(deep: Path) -> None:
    for plain, cached in zip(first_batches(deep), first_batches(deep, cache_gb=0.001), strict=True):
        for name, images in plain.items():
            assert torch.equal(images, cached[name]) and images.dtype == torch.float32
            assert images.abs().max() <= 1 and images.std() > 0.1


def test_everything_that_reads_a_data_set_reads_it(deep: Path) -> None:
    manifest = open_manifest(str(deep), (*READING, "name"))
    assert list(check_shards(manifest, decoding=True)) == [[], []]
    config = DataConfig(load_size=20, crop_size=16)
    fixed = fixed_images(manifest, Plan(manifest.samples, 0, 2, 100), config, count=2, multiple=4, channels=CHANNELS)
    assert {name: (x.dtype, *x.shape) for name, x in fixed.items()} == {
        "real_A": (torch.float32, 2, 1, 16, 16),
        "real_B": (torch.float32, 2, 5, 16, 16),
    }
    images = DomainImages(manifest, "B", 5, DataConfig(preprocess="none"), 4)
    assert images[0].dtype == torch.float32 and images[0].shape == (5, 24, 24)


@pytest.mark.slow
def test_a_run_on_12_bits_and_on_five_bands_of_floats(tiny_run: Callable[..., Config], deep: Path) -> None:
    config = tiny_run(
        data__path=str(deep),
        method__input_nc=1,
        method__output_nc=5,
        method__lambda_identity=0,
        every__samples=8,
    )
    world = World(0, 1, torch.device("cpu"))
    assert train(config, world, StopRequest(config.run_dir, world)) == "FINISHED"
    points = [r for r, _ in read_records(config.run_dir / "metrics.jsonl", 0) if r["kind"] == "metrics"]
    losses = [value for r in points for key, value in r["values"].items() if key.startswith("loss/")]
    assert len(losses) > 10 and np.isfinite(losses).all()
    assert Snapshot.open(config.run_dir).card["values"] == {
        "A": {"dtype": "uint16", "black": 0.0, "white": 4095.0},
        "B": {"dtype": "float32", "black": -1.0, "white": 3.0},
    }
    assert len(list((config.run_dir / "samples").iterdir())) == 3
