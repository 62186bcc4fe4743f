"""Embedded colour profiles against littlecms through imagecodecs, which the library does not use for 8 bits."""

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from cyclegan_dist.data.encode import Reading, encode_file
from cyclegan_dist.data.images import read_image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Not Adobe's: its primaries and a gamma of 2.2.
WIDE = bytes(
    imagecodecs.cms_profile(
        "rgb", whitepoint=[0.3127, 0.329, 1], primaries=[0.64, 0.33, 1, 0.21, 0.71, 1, 0.15, 0.06, 1], gamma=2.19921875
    )
)
GREY = bytes(imagecodecs.cms_profile("gray", whitepoint=[0.3127, 0.329, 1], gamma=1.0))
NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def converted(values: np.ndarray, profile: bytes = WIDE) -> np.ndarray:
    options = {"colorspace": "rgb", "outcolorspace": "rgb", "intent": 1, "flags": 0x2000}
    return np.asarray(imagecodecs.cms_transform(values, profile, SRGB, **options))


def saved(values: np.ndarray, format: str = "PNG", profile: bytes = WIDE) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format, icc_profile=profile, **({"quality": 100} if format == "JPEG" else {}))
    return buffer.getvalue()


def read(data: bytes) -> np.ndarray:
    return read_image(data).pixels.permute(1, 2, 0).numpy()


def test_the_profile_changes_colours_by_many_levels() -> None:
    """Else these tests could not fail."""
    assert np.abs(converted(NOISE).astype(int) - NOISE).max() > 40


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_colours_of_8_bits_become_srgb(format) -> None:
    data = saved(NOISE, format)
    stored = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(read(data).astype(int) - converted(stored)).max() <= 1
    assert read_image(data).source.profile and not read_image(data).as_is


def test_transparency_is_put_over_white_after_the_conversion() -> None:
    alpha = np.full((24, 32, 1), 128, np.uint8)
    found = read(saved(np.concatenate([NOISE, alpha], axis=2)))
    wanted = converted(NOISE) * (128 / 255) + 255 * (1 - 128 / 255)
    assert np.abs(found - wanted).max() <= 1.5


def test_a_linear_grey_becomes_grey_of_srgb() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = read(saved(ramp, profile=GREY))
    linear = ramp[..., None] / 255
    wanted = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert found.shape == (16, 16, 1) and np.abs(found - wanted).max() <= 2


def test_colours_of_16_bits_become_srgb() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (9, 11, 3), dtype=np.uint16)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, deep, photometric="rgb", iccprofile=WIDE)
    assert np.array_equal(read(buffer.getvalue()), converted(deep))
    grey = io.BytesIO()
    tifffile.imwrite(grey, deep[..., 0], photometric="minisblack", iccprofile=GREY)
    assert np.array_equal(read(grey.getvalue())[..., 0], deep[..., 0])
    assert "was not applied, because its values have 16 bits" in read_image(grey.getvalue()).note


@pytest.mark.parametrize("extension", ["jpg", "png"])
def test_srgb_keeps_the_file_and_other_profiles_do_not_reach_the_shard(tmp_path: Path, extension) -> None:
    format = "JPEG" if extension == "jpg" else "PNG"
    for name, profile in (("srgb", SRGB), ("wide", WIDE)):
        (tmp_path / f"{name}.{extension}").write_bytes(saved(NOISE, format, profile))
    kept, made = (encode_file(tmp_path, f"{name}.{extension}", Reading()) for name in ("srgb", "wide"))
    assert kept.data == (tmp_path / f"srgb.{extension}").read_bytes() and kept.source and kept.source.profile == ""
    assert made.source and made.source.profile and made.extension == extension
    with Image.open(io.BytesIO(made.data)) as image:
        assert "icc_profile" not in image.info


@pytest.mark.parametrize(
    ("profile", "says"), [(b"x" * 300, "damaged"), (WIDE[:200], "damaged"), (GREY, "for L, not RGB"), (b"", "")]
)
def test_broken_profiles_are_noted_and_pixels_stay(profile, says) -> None:
    picture = read_image(saved(NOISE, profile=profile))
    assert np.array_equal(picture.pixels.permute(1, 2, 0).numpy(), NOISE) and says in picture.note
    assert picture.source.profile == "" and picture.as_is


def test_a_profile_of_inks_is_for_images_of_inks() -> None:
    picture = read_image(saved(np.zeros((4, 4, 4), np.uint8), "TIFF", SRGB))
    assert picture.pixels.shape[0] == 3
