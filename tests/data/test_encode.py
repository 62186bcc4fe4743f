import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, JpegImagePlugin

from cyclegan_dist.data.encode import Reading, encode_file, encode_image, write_image
from cyclegan_dist.data.images import UnreadableImageError, decode, read_image
from cyclegan_dist.data.picture import Source
from cyclegan_dist.data.values import ValueRange

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


@pytest.mark.parametrize("kind", ["turned", "clear", "animated", "gif"])
def test_other_files_are_converted(tmp_path, kind) -> None:
    exif = Image.Exif()
    exif[0x0112] = 2  # mirrored: the size stays
    path = tmp_path / ("x.gif" if kind == "gif" else "x.png")
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
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 6), dtype=np.uint8)
    np.save(tmp_path / "x.npy", noise)
    np.save(tmp_path / "rgb.npy", noise[..., :3])
    many, colour = (encode_file(tmp_path, name, Reading(load_size=20)) for name in ("x.npy", "rgb.npy"))
    assert (many.extension, many.mode, many.width, many.height) == ("npy", "C6", 30, 20)
    assert np.load(io.BytesIO(many.data)).shape == (20, 30, 6)
    assert (colour.extension, colour.mode) == ("png", "RGB")
    assert torch.equal(decode(many.data, 6)[:3], decode(colour.data, 3))
    picture = Image.fromarray(noise[..., :3]).resize((30, 20), Image.Resampling.BICUBIC)
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


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_more_than_8_bits_are_stored_as_png_or_array_in_their_own_type(tmp_path, dtype, channels) -> None:
    values = (np.random.default_rng(0).random((40, 60, channels)) * 40_000).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    reading = Reading(values=ValueRange(dtype, 0, 30_000))
    whole = encode_file(tmp_path, "x.npy", reading)
    assert whole.extension == ("png" if dtype == "uint16" and channels != 4 else "npy")
    stored = read_image(whole.data).pixels
    assert np.array_equal(stored.permute(1, 2, 0).numpy(), values) and stored.numpy().dtype == dtype
    assert whole.clipped == (values > 30_000).mean() and whole.source == Source(8 * values.itemsize, channels)
    if whole.extension == "png":  # kept byte for byte if it is prepared once more
        (tmp_path / "x.png").write_bytes(whole.data)
        assert encode_file(tmp_path, "x.png", reading).data == whole.data
    small = read_image(encode_file(tmp_path, "x.npy", replace(reading, load_size=20)).data).pixels.numpy()
    for channel, found in enumerate(small):
        wanted = Image.fromarray(values[..., channel].astype(np.float32)).resize((30, 20), Image.Resampling.BICUBIC)
        assert np.abs(found - np.asarray(wanted)).max() <= (0.51 if dtype != "float32" else 0.02)


def test_an_image_that_becomes_constant_is_named(tmp_path) -> None:
    np.save(tmp_path / "dark.npy", np.arange(64, dtype=np.uint16).reshape(8, 8))
    np.save(tmp_path / "flat.npy", np.full((8, 8), 70, np.uint16))
    dark, flat = (
        encode_file(tmp_path, name, Reading(values=ValueRange("uint16", 64, 4095))) for name in ("dark.npy", "flat.npy")
    )
    assert dark.note == "all its values, 0 to 63, are beyond black or white: it becomes constant"
    assert (dark.clipped, flat.note, flat.clipped) == (1.0, "", 0.0)


def test_values_of_another_type_than_the_domains_are_refused(tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 4), np.int16))
    for values, says in ((None, "int16 values in a domain of 8 bits"), (ValueRange("uint16", 0, 9), "of uint16")):
        with pytest.raises(UnreadableImageError, match=says):
            encode_file(tmp_path, "x.npy", Reading(values=values))


def test_jpeg_is_reencoded_with_all_of_its_colours(tmp_path) -> None:
    save(tmp_path / "x.jpg", Image.new("RGB", (64, 64)))
    with Image.open(io.BytesIO(encode_file(tmp_path, "x.jpg", Reading(load_size=32)).data)) as image:
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4


def test_a_name_that_is_not_unicode_is_refused(tmp_path) -> None:
    with pytest.raises(UnreadableImageError, match="rename it"):
        encode_file(tmp_path, "\udcff.png", Reading())
