from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.models.snapshot import save_snapshot
from cyclegan_dist.translation.sizes import Sizes, geometry
from tests.conftest import size_of, write_images
from tests.translation.conftest import CONFIG

TRAINED = {"preprocess": "resize_and_crop", "load_size": 286, "crop_size": 256}


@pytest.mark.parametrize(
    ("given", "trained", "expected"),
    [
        (("resize_and_crop", 0, 0), TRAINED, (256, 256)),
        (("resize_and_crop", 0, 0), {}, (256, 256)),
        (("resize_and_crop", 300, 0), TRAINED, (300, 256)),
        (("scale_width_and_crop", 0, 64), TRAINED, (64, 64)),
        (("scale_width", 0, 0), TRAINED, (286, 256)),
        (("crop", 0, 0), {"crop_size": 32}, (32, 32)),
    ],
)
def test_sizes_that_are_not_given(
    given: tuple[Any, int, int], trained: dict[str, Any], expected: tuple[int, int]
) -> None:
    found = geometry(*given, trained)
    assert (found.preprocess, found.load_size, found.crop_size) == (given[0], *expected)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("none", 64, 0), "--load-size 64: --preprocess none does not use it"),
        (("scale_width", 0, 64), "--crop-size 64: --preprocess scale_width does not use it"),
        (("resize_and_crop", 64, 128), "crop_size 128 is larger than load_size 64"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(given: tuple[Any, int, int], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        geometry(*given, TRAINED)


def test_the_crop_is_central() -> None:
    image = torch.arange(60, dtype=torch.uint8).view(1, 6, 10)
    sizes = Sizes(geometry("crop", 0, 4, {}), {})
    assert torch.equal(sizes.cropped(sizes.resized(image)), image[:, 1:5, 3:7])
    with pytest.raises(UnreadableImageError, match="10x6 is smaller than the crop of 8: lower --crop-size"):
        Sizes(geometry("crop", 0, 8, {}), {}).cropped(image)


@pytest.mark.parametrize(
    ("trained", "side", "far"),
    [
        (TRAINED, (286, 1000), False),
        (TRAINED, (429, 500), False),
        (TRAINED, (430, 500), True),
        (TRAINED, (190, 500), True),
        ({"preprocess": "scale_width", "load_size": 100}, (900, 140), False),
        ({"preprocess": "scale_width", "load_size": 100}, (100, 160), True),
        ({"preprocess": "crop", "load_size": 286}, (9000, 9000), False),
        ({}, (9000, 9000), False),
    ],
)
def test_another_scale_than_in_training(trained: dict[str, Any], side: tuple[int, int], far: bool) -> None:
    assert bool(Sizes(geometry("none", 0, 0, trained), trained).remark(*side)) == far


def test_the_command_resizes_and_remarks(cli, tmp_path: Path) -> None:
    facts = {"nimg": 8, "preprocess": TRAINED | {"load_size": 24, "crop_size": 20}}
    snapshot = save_snapshot(tmp_path / "model", CycleGAN(CONFIG).translators, CONFIG, facts)
    images = write_images(tmp_path / "in", 2, size=40)
    Image.fromarray(np.zeros((30, 50), np.uint8)).save(images / "wide.png")
    code, _, err = cli(snapshot, images, tmp_path / "own")
    assert code == 0 and size_of(tmp_path / "own" / "wide.png") == (50, 30)
    assert err.startswith("2 images: another scale than in training") and "--preprocess resize_and_crop" in err
    code, _, err = cli(snapshot, images, tmp_path / "resized", "--preprocess", "resize_and_crop")
    assert code == 0 and err == "" and size_of(tmp_path / "resized" / "wide.png") == (20, 20)
    code, _, err = cli(snapshot, images, tmp_path / "cropped", "--preprocess", "crop", "--crop-size", 32)
    assert code == 1 and "wide.png: 50x30 is smaller than the crop of 32" in err
    assert size_of(tmp_path / "cropped" / "0000.png") == (32, 32)
    code, _, err = cli(snapshot, images, tmp_path / "small", "--max-megapixels", 0.0015)
    assert code == 1 and err.count("more than the 1,500 pixels we read") == 2  # 40 x 40; 50 x 30 is not more
