import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan_dist.data.images import UnreadableImageError, encode_file, list_images, open_image


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


RED = Image.new("RGB", (8, 6), (200, 30, 40))


def test_listing_is_recursive_sorted_and_passes_over_hidden_and_other_files(tmp_path) -> None:
    for name in ("b.JPG", "a.v2.png", "sub dir/ü.webp", ".hidden.png", ".git/x.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path) == ["a.v2.png", "b.JPG", "sub dir/ü.webp"]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV"])
def test_modes_become_grey_or_colour_of_eight_bits(tmp_path, mode) -> None:
    name = "x.tif" if mode in ("CMYK", "LAB", "YCbCr") else "x.png"
    image = RED.quantize() if mode == "P" else RED if mode == "HSV" else RED.convert(mode)
    opened = open_image(save(tmp_path / name, image))
    assert opened.mode in ("L", "RGB")
    if mode in ("P", "CMYK"):
        assert np.abs(np.asarray(opened.convert("RGB")).astype(int) - np.asarray(RED)).max() <= 2


def test_transparency_lies_over_white(tmp_path) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert np.asarray(open_image(save(tmp_path / "x.png", clear))).min() == 255


def test_sixteen_bits_are_scaled_not_saturated(tmp_path) -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    opened = np.asarray(open_image(save(tmp_path / "x.png", Image.fromarray(ramp))))
    assert opened.dtype == np.uint8
    assert np.abs(opened.astype(int) - (ramp >> 8)).max() <= 1


def test_exif_orientation_is_applied(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = open_image(save(tmp_path / "x.jpg", RED, exif=exif))
    assert opened.size == (6, 8)
    assert encode_file(tmp_path, "x.jpg", None, 95).width == 6


def test_plain_files_keep_their_bytes(tmp_path) -> None:
    for name in ("x.jpg", "x.png"):
        path = save(tmp_path / name, RED)
        image = encode_file(tmp_path, name, load_size=None, quality=50)
        assert image.data == path.read_bytes()
        assert (image.width, image.height, image.mode) == (8, 6, "RGB")


def test_resizing_reduces_the_shorter_side_and_never_enlarges(tmp_path) -> None:
    save(tmp_path / "x.jpg", Image.new("RGB", (100, 60)))
    small = encode_file(tmp_path, "x.jpg", load_size=30, quality=90)
    assert (small.width, small.height) == (50, 30)
    assert decoded(small.data).shape == (30, 50, 3)
    assert encode_file(tmp_path, "x.jpg", load_size=70, quality=90).width == 100


def test_quality_changes_what_is_encoded_anew(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    save(tmp_path / "x.jpg", Image.fromarray(noise))
    sizes = [len(encode_file(tmp_path, "x.jpg", load_size=32, quality=q).data) for q in (20, 95)]
    assert sizes[0] < sizes[1] / 2


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "float", "bomb"])
def test_what_cannot_be_read_is_said_to_be_so(tmp_path, damage) -> None:
    path = tmp_path / "x.png"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    save(path, noise)
    if damage == "float":
        path = save(tmp_path / "x.tif", Image.new("F", (4, 4)))
    elif damage == "bomb":
        save(path, Image.new("1", (20_000, 20_000)))
    else:
        write(path, {"empty": b"", "text": b"<html>", "cut": path.read_bytes()[:600]}[damage])
    with pytest.raises(UnreadableImageError):
        encode_file(tmp_path, path.name, None, 95)
    with pytest.raises(UnreadableImageError):
        open_image(path)
