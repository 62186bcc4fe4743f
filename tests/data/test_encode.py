import io
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_dist.data.encode import Reading, encode_file, encode_image, write_image
from cyclegan_dist.data.images import UnreadableImageError, decode
from tests.faults.decompression_bombs import png

RED = Image.new("RGB", (8, 6), (200, 30, 40))


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def test_plain_files_keep_their_bytes(tmp_path) -> None:
    for name in ("x.jpg", "x.png"):
        path = save(tmp_path / name, RED)
        image = encode_file(tmp_path, name, Reading(quality=50))
        assert image.data == path.read_bytes()
        assert (image.width, image.height, image.mode, image.note) == (8, 6, "RGB", "")


@pytest.mark.parametrize("kind", ["turned", "clear", "animated", "deep", "gif"])
def test_other_files_are_converted(tmp_path, kind) -> None:
    exif = Image.Exif()
    exif[0x0112] = 2  # mirrored: the size stays
    path = tmp_path / ("x.gif" if kind == "gif" else "x.png")
    if kind == "deep":
        path.write_bytes(png(1, 1, zlib.compress(bytes(7)), depth=16, colour=2))
    else:
        options = {
            "turned": {"exif": exif},
            "clear": {"transparency": (200, 30, 40)},
            "animated": {"save_all": True, "append_images": [Image.new("RGB", (8, 6))]},
        }
        save(path, RED, **options.get(kind, {}))
    image = encode_file(tmp_path, path.name, Reading())
    assert image.data != path.read_bytes()
    again = Image.open(io.BytesIO(image.data))
    assert (again.format, again.mode, again.info.get("transparency"), len(again.getexif())) == ("PNG", "RGB", None, 0)
    assert image.note == ("first of 2 frames taken" if kind == "animated" else "")


def test_resizing_reduces_the_shorter_side_and_never_enlarges(tmp_path) -> None:
    save(tmp_path / "x.jpg", Image.new("RGB", (100, 60)))
    small = encode_file(tmp_path, "x.jpg", Reading(load_size=30, quality=90))
    assert (small.width, small.height) == (50, 30)
    assert decode(small.data, 3).shape == (3, 30, 50)
    assert encode_file(tmp_path, "x.jpg", Reading(load_size=70)).width == 100


def test_quality_affects_reencoded_files(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    save(tmp_path / "x.jpg", Image.fromarray(noise))
    sizes = [len(encode_file(tmp_path, "x.jpg", Reading(load_size=32, quality=q)).data) for q in (20, 95)]
    assert sizes[0] < sizes[1] / 2


def test_many_channels_stay_arrays_and_are_resized_as_pictures_are(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (40, 60, 6), dtype=np.uint16)
    np.save(tmp_path / "x.npy", noise)
    np.save(tmp_path / "rgb.npy", noise[..., :3])
    many, colour = (encode_file(tmp_path, name, load_size=20, quality=95) for name in ("x.npy", "rgb.npy"))
    assert (many.extension, many.mode, many.width, many.height) == ("npy", "C6", 30, 20)
    assert np.load(io.BytesIO(many.data)).shape == (20, 30, 6)
    assert (colour.extension, colour.mode) == ("png", "RGB")
    assert torch.equal(decode(many.data, 6)[:3], decode(colour.data, 3))
    picture = Image.fromarray((noise[..., :3] >> 8).astype(np.uint8)).resize((30, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(decode(colour.data, 3).permute(1, 2, 0), picture)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_decoding_is_the_inverse_of_encoding(tmp_path, channels) -> None:
    image = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    assert torch.equal(decode(encode_image(image, "x").data, channels), image)
    write_image(image, tmp_path / "x.npy")
    assert torch.equal(decode(tmp_path / "x.npy", channels), image)
    if channels in (1, 3):
        write_image(image, tmp_path / "x.tiff")
        assert torch.equal(decode(tmp_path / "x.tiff", channels), image)
    else:
        with pytest.raises(ValueError, match=r"must end in \.npy"):
            write_image(image, tmp_path / "x.png")


def test_warnings_of_the_decoder_become_notes(tmp_path) -> None:
    broken = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"  # five entries announced, none whole
    path = save(tmp_path / "x.jpg", RED, exif=broken)
    assert "EXIF" in encode_file(tmp_path, path.name, Reading()).note


def test_a_name_that_is_not_unicode_is_refused(tmp_path) -> None:
    with pytest.raises(UnreadableImageError, match="rename it"):
        encode_file(tmp_path, "\udcff.png", Reading())
