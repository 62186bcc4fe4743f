"""Tests that the baseline and the project load the same images, so that their speeds can be compared."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmarks.loader import first_images, images_per_s, pairs
from benchmarks.reference_loader import FolderPairs
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.synthetic import draw_scene
from cyclegan_dist.errors import UsageError

COUNT, SIZE = 4, 48
LEVEL = 1 / 127.5  # one of 256 grey levels, in [-1, 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of both domains, and a data set of them."""
    folder = tmp_path_factory.mktemp("loader")
    for domain in "AB":
        (folder / domain).mkdir()
        for i in range(COUNT):
            Image.fromarray(getattr(draw_scene(i, seed=0, size=64), domain)).save(folder / domain / f"{i}.png")
    prepare(PrepareConfig(folder / "A", folder / "B", folder / "data"))
    return folder


def nearest(image: Tensor, others: list[Tensor]) -> float:
    """Smallest mean difference to one of the others, mirrored or not."""
    return min(float((image - candidate).abs().mean()) for other in others for candidate in (other, other.flip(-1)))


@pytest.mark.parametrize("cache_gb", [0.0, 1.0])
def test_images_are_equal_up_to_rounding_in_resizing(folder: Path, cache_gb: float) -> None:
    baseline = FolderPairs(folder / "A", folder / "B", SIZE, SIZE)
    of_A = [baseline[i]["real_A"] for i in range(COUNT)]
    passes: Any = itertools.islice(pairs(folder / "data", load_size=SIZE, crop_size=SIZE, cache_gb=cache_gb), 2 * COUNT)
    ours = [pair["real_A"][0] for pair in passes]
    assert len(ours) == 2 * COUNT
    for image in ours:
        assert image.shape == of_A[0].shape
        assert nearest(image, of_A) < 0.5 * LEVEL
    assert (
        nearest(ours[0], [torch.roll(image, 1, dims=-1) for image in of_A]) > 2 * LEVEL
    )  # a shift by one pixel is detected


def test_a_candidate_reads_one_pass_of_pairs() -> None:
    stream = iter(range(100))
    assert images_per_s(stream, 7)() > 0
    assert next(stream) == 7


def test_the_first_images_of_a_folder_are_copied(folder: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in first_images(folder / "A", 2, tmp_path / "copied").iterdir()) == [
        "0.png",
        "1.png",
    ]
    with pytest.raises(UsageError, match="is not a folder"):
        first_images(folder / "not there", 2, tmp_path / "none")
