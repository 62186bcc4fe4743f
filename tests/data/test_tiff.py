"""TIFF of many kinds against the arrays that they were written from, by tifffile or byte by byte."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from cyclegan_dist.data.images import UnreadableImageError, read_image
from cyclegan_dist.data.picture import Source
from tests.faults.decoding import _oriented
from tests.faults.decompression_bombs import tiff

TYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64")
WIDER = {"int8": "int16", "float16": "float32"}
ONE = {256: (4, [16]), 257: (4, [9]), 259: (3, [1]), 262: (3, [1]), 273: (4, [8]), 277: (3, [1]), 278: (4, [9])}


def noise(dtype: str, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    if dtype.startswith("float"):
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def written(values: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def read(data: bytes, **options) -> np.ndarray:
    """H x W x C."""
    return read_image(data, **options).pixels.permute(1, 2, 0).numpy()


def packed(values: np.ndarray, bits: int, photometric: int = 1) -> bytes:
    """9 x 16 values of so many bits each, without gaps."""
    text = "".join(f"{value:0{bits}b}" for value in values.ravel())
    data = int(text, 2).to_bytes(len(text) // 8, "big")
    return tiff(ONE | {258: (3, [bits]), 262: (3, [photometric]), 279: (4, [len(data)])}, data)


@pytest.mark.parametrize("dtype", [*TYPES, "int8", "float16"])
def test_all_bands_of_all_types_in_all_layouts(dtype) -> None:
    wide = WIDER.get(dtype, dtype)
    for channels in (1, 2, 3, 4, 5):
        values = noise(dtype, 20, 30, channels)
        wanted, grey = values.astype(wide), {"photometric": "minisblack"}
        grey |= {} if channels == 1 else {"planarconfig": "contig"}
        planes = np.ascontiguousarray(values.transpose(2, 0, 1))
        for data in (
            written(values, **grey),
            written(planes, **(grey | {"planarconfig": "separate"})) if channels > 1 else written(values, **grey),
            written(values, byteorder=">", bigtiff=True, rowsperstrip=7, **grey),
            written(values, tile=(16, 16), compression="zlib", **grey),
        ):
            picture = read_image(data)
            found = picture.pixels.permute(1, 2, 0).numpy()
            assert found.dtype == wide and np.array_equal(found, wanted), channels
            assert picture.source == Source(8 * found.itemsize, channels) and picture.note == ""


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "lzma", "packbits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_compressions_and_predictors(compression, dtype) -> None:
    values = noise(dtype, 20, 30, 3)
    for order in "<>":
        options = {"photometric": "rgb", "byteorder": order, "predictor": compression != "packbits"}
        assert np.array_equal(read(written(values, compression=compression, **options)), values)


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
def test_bits_that_are_packed(bits) -> None:
    values = np.random.default_rng(0).integers(0, 1 << bits, (9, 16)).astype(np.uint16 if bits > 8 else np.uint8)
    wanted = values if bits > 8 else (values * (255 // (2**bits - 1))).astype(np.uint8)
    picture = read_image(packed(values, bits))
    assert np.array_equal(picture.pixels[0].numpy(), wanted) and picture.pixels.numpy().dtype == wanted.dtype
    assert picture.source.bits == max(8, bits)
    inverted = (2**bits - 1 if bits > 8 else 255) - wanted
    assert np.array_equal(read_image(packed(values, bits, photometric=0)).pixels[0].numpy(), inverted)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_band_is_transparency_only_if_the_file_says_so(dtype) -> None:
    values, white = noise(dtype, 5, 7, 4), np.iinfo(dtype).max
    opaque = values[..., 3:] / white
    over = np.rint(values[..., :3] * opaque + white * (1 - opaque))
    rgb = {"photometric": "rgb"}
    straight = written(values, extrasamples=["unassalpha"], **rgb)
    assert np.array_equal(read(straight), over) and read_image(straight).source.alpha == "over white"
    assert np.array_equal(read(straight, bands=()), values)
    multiplied = values.copy()
    multiplied[..., :3] = values[..., :3] * opaque
    assert np.abs(read(written(multiplied, extrasamples=["assocalpha"], **rgb)).astype(int) - over).max() <= 1
    assert np.array_equal(read(written(values, extrasamples=["unspecified"], **rgb)), values)
    assert np.array_equal(read(_without_extra_samples(values)), values)
    five = noise(dtype, 5, 7, 5)
    opaque = five[..., 4:] / white
    mixed = np.rint(five[..., :4] * opaque + white * (1 - opaque))
    assert np.array_equal(read(written(five, extrasamples=["unspecified", "unassalpha"], **rgb)), mixed)


def _without_extra_samples(values: np.ndarray) -> bytes:
    """RGB with a fourth band that the file says nothing about."""
    height, width, bands = values.shape
    tags = ONE | {256: (4, [width]), 257: (4, [height]), 258: (3, [8 * values.itemsize] * bands), 262: (3, [2])}
    tags |= {277: (3, [bands]), 278: (4, [height]), 279: (4, [values.nbytes])}
    return tiff(tags, values.tobytes())


def test_transparency_of_values_without_a_known_white_is_refused() -> None:
    data = written(noise("float32", 5, 7, 4), photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(UnreadableImageError, match=r"band 4 is transparency, .* --bands"):
        read_image(data)
    assert read_image(data, bands=(1, 2, 3)).pixels.shape == (3, 5, 7)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation) -> None:
    values = noise("uint16", 5, 7, 3)
    data = written(values, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    assert np.array_equal(read(data), _oriented(values, orientation))
    assert read_image(data).source.orientation == orientation


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "LAB"])
def test_palettes_and_other_colours_of_8_bits(mode) -> None:
    image = Image.fromarray(noise("uint8", 6, 8, 3))
    image = image.quantize() if mode == "P" else image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    wanted = np.asarray(image.convert("L" if mode == "1" else "RGB")).reshape(6, 8, -1)
    assert np.array_equal(read(buffer.getvalue()), wanted)


def test_jpeg_in_tiles_and_strips() -> None:
    image = Image.fromarray(noise("uint8", 4, 6, 3)).resize((48, 32))
    level, strips = {"compressionargs": {"level": 100}, "tile": (16, 16)}, io.BytesIO()
    image.convert("YCbCr").save(strips, "TIFF", compression="jpeg", quality=100)
    for data in (written(np.asarray(image), photometric="rgb", compression="jpeg", **level), strips.getvalue()):
        assert np.abs(read(data).astype(int) - np.asarray(image)).mean() < 4


def test_the_first_of_several_pages_is_taken_and_overviews_are_no_pages() -> None:
    pages = noise("uint16", 3, 9, 11)
    picture = read_image(written(pages, photometric="minisblack"))
    assert np.array_equal(picture.pixels[0].numpy(), pages[0]) and picture.note == "first of several frames taken"
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(pages[0])
        writer.write(pages[0, ::2, ::2], subfiletype=1)
    assert read_image(buffer.getvalue()).note == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"compression": "png"}, "compression is PNG: save it with LZW"),
        ({"compression": "jpeg2000"}, "compression is JPEG2000"),
        ({"photometric": "cfa"}, "kind CFA"),
    ],
)
def test_kinds_that_are_refused(options, says) -> None:
    with pytest.raises(UnreadableImageError, match=says):
        read_image(written(noise("uint8", 16, 16), **options))


def test_volumes_complex_numbers_and_too_many_bands_are_refused() -> None:
    flat = noise("float32", 16, 16)
    for data, says in (
        (
            written(np.zeros((16, 32, 32), np.uint8), volumetric=True, tile=(16, 16, 16), photometric="minisblack"),
            "volume",
        ),
        (written(flat.astype(np.complex64)), "values of complex64"),
        (written(flat.astype(np.uint64)), "values of uint64"),
        (tiff(ONE | {258: (3, [8]), 277: (3, [60_000]), 279: (4, [9])}, bytes(9)), "bands are 8,640,000 bytes"),
    ):
        with pytest.raises(UnreadableImageError, match=says):
            read_image(data, max_pixels=5000)


def test_a_jpeg_that_is_larger_than_its_strip_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("L", (4000, 4000)).save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    with pytest.raises(UnreadableImageError, match="a JPEG of 4000x4000 within 16x9 pixels"):
        read_image(tiff(ONE | {258: (3, [8]), 259: (3, [7]), 279: (4, [len(jpeg)])}, jpeg))


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "lzw"}, {"tile": (16, 16)}])
def test_a_truncated_file_is_refused_or_complete(options) -> None:
    values = noise("uint16", 32, 32, 3)
    data = written(values, photometric="rgb", **options)
    for cut in np.linspace(0, len(data) - 1, 30, dtype=int):
        try:
            assert np.array_equal(read(data[:cut]), values)
        except UnreadableImageError:
            continue
    damaged = np.random.default_rng(0)
    for place in damaged.integers(0, len(data), 60):
        try:
            read(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        except UnreadableImageError:
            continue
