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
from cyclegan_dist.data.images import UnreadableImageError, decode, read_image, to_unit_range, visible, windowed
from cyclegan_dist.data.values import ValueRange
from tests.faults.decompression_bombs import chunk, npy, png, tiff

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
    picture = read_image(saved(image, **options))
    assert picture.pixels.numpy().min() == (65535 if image.mode == "I;16" else 255)
    assert picture.source.alpha == "over white"


def test_values_of_more_than_8_bits_stay_what_they_are() -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    for data in (saved(ramp), saved(ramp, "TIFF"), saved(ramp.astype(np.int32), "TIFF"), saved(ramp, "PPM")):
        assert np.array_equal(shown(data)[..., 0], ramp)
    fraction = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    for format in ("TIFF", "PPM"):
        assert np.array_equal(shown(saved(Image.fromarray(fraction), format))[..., 0], fraction)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_png_of_16_bits_in_colour_and_with_transparency(channels) -> None:
    import imagecodecs

    values = np.random.default_rng(0).integers(0, 65536, (6, 8, channels), dtype=np.uint16)
    data = bytes(imagecodecs.png_encode(values))
    assert np.array_equal(read_image(data, bands=()).pixels.permute(1, 2, 0).numpy(), values)
    picture = read_image(data, white=4095)
    wanted = values
    if channels != 3:
        opaque = values[..., -1:] / 65535
        wanted = np.rint(values[..., :-1] * opaque + 4095 * (1 - opaque))
    assert np.array_equal(picture.pixels.permute(1, 2, 0).numpy(), wanted)
    assert (picture.source.bits, picture.source.bands) == (16, channels)
    assert picture.as_is == (channels == 3)


def test_png_of_16_bits_with_a_transparent_colour_and_turned() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (2, 3, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    exif = Image.Exif()
    exif[0x0112] = 3
    clear, turned = chunk(b"tRNS", values[0, 0].tobytes()), chunk(b"eXIf", exif.tobytes()[6:])
    found = shown(png(3, 2, zlib.compress(rows), clear, turned, depth=16, colour=2))
    values[0, 0] = 65535
    assert np.array_equal(found, values[::-1, ::-1])


def test_bands_are_taken_in_the_order_named() -> None:
    values = np.random.default_rng(0).integers(0, 256, (4, 6, 4), dtype=np.uint8)
    for data in (saved(values), array_bytes(values), saved(values, "TIFF")):
        for bands, wanted in (((), values), ((4, 1), values[..., [3, 0]]), ((3, 2, 1), values[..., [2, 1, 0]])):
            picture = read_image(data, bands=bands)
            assert np.array_equal(picture.pixels.permute(1, 2, 0).numpy(), wanted) and picture.source.alpha == ""
        with pytest.raises(UnreadableImageError, match="it has 4 bands, not 5"):
            read_image(data, bands=(5,))
    colour = saved(RED)
    assert read_image(colour, bands=(1, 2, 3)).as_is and not read_image(colour, bands=(3, 2, 1)).as_is


def test_decoding_with_a_value_range() -> None:
    values = np.array([[0, 1000, 2047.5, 4095, 65535]]).astype(np.uint16)[..., None]
    range_ = ValueRange("uint16", 0, 4095)
    image = decode(array_bytes(values), 1, range_)
    assert image.dtype == torch.float32
    assert image.flatten().tolist() == pytest.approx([-1, 1000 / 2047.5 - 1, 2047 / 2047.5 - 1, 1, 1], abs=1e-6)
    eight = np.array([[0, 51, 255]], np.uint8)
    assert decode(saved(eight), 1, range_).flatten().tolist() == pytest.approx([-1, -0.6, 1], abs=1e-6)
    with pytest.raises(UnreadableImageError, match=r"its values have 16 bits, and 8 are expected: .*--white"):
        decode(array_bytes(values), 1)
    rgb = decode(array_bytes(np.full((2, 2, 3), 4095, np.uint16) * np.array([1, 0, 0], np.uint16)), 1, range_)
    assert rgb.flatten().tolist() == pytest.approx([0.299 * 2 - 1] * 4, abs=1e-6)


def test_images_of_both_kinds_for_people_and_for_networks() -> None:
    eight = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    unit = to_unit_range(eight, torch.device("cpu"))
    assert torch.equal(windowed(unit), eight) and windowed(eight) is eight
    assert torch.equal(to_unit_range(unit, torch.device("cpu")), unit)


def test_more_pixels_are_read_if_asked(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data = saved(np.zeros((50, 50), np.uint8))
    with pytest.raises(UnreadableImageError, match=r"50x50 are more than the 2,400 pixels .*--max-megapixels to 1"):
        read_image(array_bytes(np.zeros((50, 50), np.uint8)), max_pixels=2400)
    with pytest.raises(UnreadableImageError, match=r"more than the 500 pixels .*--max-megapixels"):
        read_image(data, max_pixels=500)
    assert read_image(data, max_pixels=2500).pixels.shape == (1, 50, 50)


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
                "nan": saved(Image.new("F", (4, 4), float("nan")), "TIFF"),
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
        ("nan", "NaN or infinite"),
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


@pytest.mark.parametrize("kind", ["|u1", "<u2", ">u2", "<i2", "<u4", ">i4", "<f4", ">f8", "|i1", "<f2"])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_arrays_are_images_of_any_number_of_channels(kind, channels) -> None:
    array = np.random.default_rng(0).integers(0, 1 << 8 * min(4, int(kind[2])), (4, 6, channels)).astype(kind)
    array = np.nan_to_num(array, posinf=1)
    wanted = array.astype({"i1": "i2", "f2": "f4"}.get(kind[1:], kind[1:]))
    for stored in (array, np.asfortranarray(array)):
        found = shown(array_bytes(stored))
        assert found.dtype == wanted.dtype and np.array_equal(found, wanted)
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
        (npy((2, 1), kind="<u8"), "an array of uint64: save it as uint8, .* or float64"),
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
