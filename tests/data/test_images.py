"""Each kind of file: pixels, notes and errors. `tests/faults/decoding.py` compares them with golden values."""

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_dist.data.arrays import array_bytes
from cyclegan_dist.data.images import UnreadableImageError, decode, read_image, visible
from tests.faults.decompression_bombs import chunk, npy, png, tiff, tiff_of

ONE = {256: (4, [1]), 257: (4, [1]), 258: (3, [8]), 259: (3, [8]), 262: (3, [1]), 277: (3, [1])}  # one grey pixel
TILE = ONE | {322: (4, [9000]), 323: (4, [9000]), 324: (4, [8]), 325: (4, [0])}
RED = Image.new("RGB", (8, 6), (200, 30, 40))
NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def saved(image: Image.Image | np.ndarray, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, format, **options)
    return buffer.getvalue()


def shown(data: bytes | Path) -> np.ndarray:
    """H x W x C."""
    return read_image(data).pixels.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "LA", "RGBA"])
def test_modes_become_grey_or_colour_of_eight_bits(mode) -> None:
    image = RED.quantize() if mode == "P" else RED if mode == "HSV" else RED.convert(mode)
    pixels = shown(saved(image, "TIFF" if mode in ("CMYK", "LAB", "YCbCr") else "PNG"))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (6, 8, 1 if mode in ("1", "L", "LA") else 3)
    if mode in ("P", "CMYK", "RGBA"):
        assert np.abs(pixels.astype(int) - np.asarray(RED)).max() <= 2


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.new("RGBA", (4, 4), (0, 0, 0, 0)), {}),
        (Image.new("LA", (4, 4), (0, 0)), {}),
        (Image.new("L", (4, 4), 7), {"transparency": 7}),
        (Image.new("RGB", (4, 4), (1, 2, 3)), {"transparency": (1, 2, 3)}),
        (RED.quantize(), {"transparency": 0}),
        (Image.fromarray(np.full((4, 4), 700, np.uint16)), {"transparency": 700}),
    ],
)
def test_transparent_images_are_composited_on_white(image, options) -> None:
    assert shown(saved(image, **options)).min() == 255


def test_wide_integers_are_scaled_if_they_fit_and_never_saturated() -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    for data in (saved(ramp), saved(ramp, "TIFF"), saved(ramp.astype(np.int32), "TIFF"), saved(ramp, "PPM")):
        assert np.abs(shown(data)[..., 0].astype(int) - (ramp >> 8)).max() <= 1


def test_tiffs_of_12_bits_and_with_white_as_zero() -> None:
    deep = np.array([[[0], [0xFFFF]]], np.uint16)
    assert shown(tiff_of(deep)).ravel().tolist() == [0, 255]
    tags = ONE | {256: (4, [2]), 258: (3, [16]), 259: (3, [1]), 262: (3, [0])}
    tags |= {273: (4, [8]), 278: (4, [1]), 279: (4, [4])}
    assert shown(tiff(tags, deep.tobytes())).ravel().tolist() == [255, 0]
    twelve = bytes([0xFF, 0xF8, 0x00])  # 4095 and 2048
    assert shown(tiff(tags | {258: (3, [12]), 262: (3, [1]), 279: (4, [3])}, twelve)).ravel().tolist() == [255, 128]


def test_unreadable_exif_is_noted_and_ignored() -> None:
    assert read_image(saved(RED)).note == ""
    picture = read_image(png(1, 1, zlib.compress(bytes(2)), chunk(b"tEXt", b"Raw profile type exif\0\nexif\n3\nzzz")))
    assert "EXIF data cannot be read" in picture.note
    assert picture.pixels.tolist() == [[[0]]]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_a_truncated_file_is_refused_or_complete(format) -> None:
    data = saved(NOISE, format)
    whole = shown(data)
    for cut in np.linspace(0, len(data) - 1, 40, dtype=int):
        try:
            assert np.array_equal(shown(data[:cut]), whole)  # only what comes after the pixels is missing
        except UnreadableImageError:
            continue


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / "x.png"
    path.write_bytes(saved(NOISE))
    if kind == "folder link":
        path.unlink()
        path.symlink_to(folder)
    elif kind == "loop":
        path.unlink()
        path.symlink_to(path)
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif kind == "huge":
        os.truncate(path, 1 << 30)
    else:
        path.write_bytes(
            {
                "empty": b"",
                "text": b"<html>",
                "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
                "float": saved(Image.new("F", (4, 4)), "TIFF"),
                "deep": saved(Image.new("I", (4, 4), 70_000), "TIFF"),
                "bomb": png(20_000, 20_000, b""),
                "tile": tiff(TILE, b""),
            }[kind]
        )
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("empty", "neither JPEG, .* nor .npy"),
        ("text", "neither JPEG, .* nor .npy"),
        ("postscript", "neither JPEG, .* nor .npy"),
        ("float", "floating-point .* save it with 8 or 16 bits"),
        ("deep", "70000, have no known range"),
        ("bomb", "pixels"),
        ("tile", "9000x9000"),
        ("huge", "more than the 268,435,456 we read"),
        ("folder link", "not followed"),
        ("loop", "symbolic links"),
        ("pipe", "device or pipe"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, kind, says) -> None:
    with pytest.raises(UnreadableImageError, match=says):
        read_image(bad_file(kind, tmp_path))


@pytest.mark.parametrize("kind", ["|u1", "<u2", ">u2"])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_arrays_are_images_of_any_number_of_channels(kind, channels) -> None:
    array = np.random.default_rng(0).integers(0, 1 << 8 * int(kind[2]), (4, 6, channels)).astype(kind)
    wanted = array if kind == "|u1" else (array >> 8).astype(np.uint8)
    for stored in (array, np.asfortranarray(array)):
        assert np.array_equal(decode(array_bytes(stored), channels).permute(1, 2, 0), wanted)
    if channels == 1:
        assert np.array_equal(shown(array_bytes(array[..., 0])), wanted)


def test_column_major_arrays() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(NOISE))
    assert np.array_equal(shown(buffer.getvalue()), NOISE)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (npy((7000, 7000, 100_000)), "announces 4900000000000 bytes of pixels, 16 follow"),
        (npy((100_000, 100_000)), "more than the 50,000,000 pixels"),
        (npy((4, 5)), "announces 20 bytes of pixels, 16 follow"),
        (npy((2, 2)), "announces 4 bytes of pixels, 16 follow"),
        (npy((4, 4), version=2), "version"),
        (npy((4, 4), kind="|O"), "save it as uint8"),
        (npy((2, 2), kind="<f4"), "save it as uint8"),
        (npy((16,)), "height x width x channels"),
        (npy((1, 1, 1, 16)), "height x width x channels"),
        (npy((0, 4)), "height x width x channels"),
        (b"\x93NUMPY", "magic"),
    ],
)
def test_arrays_that_are_not_images_are_refused(data, says) -> None:
    with pytest.raises(UnreadableImageError, match=says):
        decode(data, 3)


def test_only_grey_and_colour_are_converted() -> None:
    assert decode(saved(RED), 1).shape == (1, 6, 8)
    assert torch.equal(decode(saved(RED.convert("L")), 3), decode(saved(RED), 1).expand(3, -1, -1))
    with pytest.raises(
        UnreadableImageError, match=r"3 channels instead of 4: .* method\.input_nc .* method\.output_nc"
    ):
        decode(saved(RED), 4)
    with pytest.raises(UnreadableImageError, match="4 channels instead of 3"):
        decode(array_bytes(np.zeros((4, 4, 4), np.uint8)), 3)


@pytest.mark.parametrize(("channels", "seen"), [(1, 1), (2, 1), (3, 3), (4, 3), (9, 3)])
def test_displayable_channels_of_an_image(channels, seen) -> None:
    images = torch.rand(2, channels, 4, 5)
    assert torch.equal(visible(images), images[:, :seen])
    assert torch.equal(visible(images[0]), images[0, :seen])
