import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cyclegan_dist.data.augment import Augment
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.errors import UsageError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def image(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("preprocess", "size", "expected"),
    [
        ("resize_and_crop", (40, 60), (16, 16)),
        ("crop", (40, 60), (16, 16)),
        ("scale_width", (40, 60), (12, 20)),  # 13.3 down to the nearest multiple of 4
        ("scale_width_and_crop", (40, 60), (16, 16)),
        ("none", (41, 63), (40, 64)),
    ],
)
def test_sizes(preprocess, size, expected) -> None:
    config = DataConfig(preprocess=preprocess, load_size=20, crop_size=16)
    out = Augment(config, 4)(image(*size), rng())
    assert out.shape == (3, *expected)
    assert out.dtype == torch.uint8


@pytest.mark.parametrize(
    ("preprocess", "size", "expected"),
    [
        ("scale_width", (41, 63), (12, 20)),  # 13.0 by 20
        ("scale_width", (42, 60), (16, 20)),  # 14.0: half way, to the even multiple
        ("scale_width", (1, 60), (4, 20)),
        ("scale_width_and_crop", (59, 60), (19, 20)),  # 19.7, rounded down as in the published code
        ("scale_width_and_crop", (30, 60), (16, 20)),  # not below the crop
        ("none", (41, 63), (40, 64)),
    ],
)
def test_an_image_is_resampled_once_to_its_final_size(preprocess, size, expected) -> None:
    x = image(*size)
    resized = Augment(DataConfig(preprocess=preprocess, load_size=20, crop_size=16), 4).resize(x)
    assert resized.shape[1:] == expected
    once = F.interpolate(x[None], size=expected, mode="bicubic", antialias=True)[0]
    assert torch.equal(resized, once)


def test_floating_point_images_stay_in_their_range() -> None:
    x = torch.ones(1, 20, 20)
    x[:, :, 10:] = -1
    out = Augment(DataConfig(load_size=33, crop_size=32, flip=False), 4)(x, rng())
    assert out.dtype == torch.float32 and (float(out.min()), float(out.max())) == (-1, 1)


def test_none_leaves_a_fitting_image_as_it_is() -> None:
    x = image(16, 20)
    assert torch.equal(Augment(DataConfig(preprocess="none", flip=False), 4)(x, rng()), x)


def test_crops_reach_every_place_and_are_pieces_of_the_image() -> None:
    x = image(6, 7)
    augment = Augment(DataConfig(preprocess="crop", crop_size=4, flip=False), 4)
    pieces = {(top, left): x[:, top : top + 4, left : left + 4] for top in range(3) for left in range(4)}
    seen = set()
    for seed in range(300):
        out = augment(x, rng(seed))
        seen |= {place for place, piece in pieces.items() if torch.equal(piece, out)}
    assert seen == set(pieces)


def test_half_of_the_images_are_mirrored() -> None:
    x = image(16, 16)
    augment = Augment(DataConfig(preprocess="none"), 4)
    mirrored = sum(torch.equal(augment(x, rng(seed)), x.flip(-1)) for seed in range(400))
    assert mirrored / 400 == pytest.approx(0.5, abs=0.08)


def test_an_image_smaller_than_the_crop_is_an_error() -> None:
    with pytest.raises(ValueError, match="12x10 is smaller than crop_size 16"):
        Augment(DataConfig(preprocess="crop", crop_size=16), 4)(image(10, 12), rng())


def test_a_crop_larger_than_the_load_size_is_refused() -> None:
    with pytest.raises(UsageError, match="load_size at least 300"):
        DataConfig(crop_size=300)
