"""Image files of unusual kinds, each with the values that it holds: written with other libraries than those under test
where there are two, and never read by them.
"""

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from tests.faults.image_files import bmp_palette, pgm_with_maximum, png_chunks

HEIGHT, WIDTH = 12, 18


@dataclass(frozen=True)
class OddImage:
    """A file and what it holds.

    Attributes:
        name: of the file; says what is odd.
        data: its bytes.
        values: H x W x C in [0, 1], 0 black and 1 white: upright, in sRGB, transparency over white.
        levels: 255 for 8 bits, the file's own range for more: errors are counted in it.
        tolerance: largest error in such levels.
        options: of the preparation.
    """

    name: str
    data: bytes
    values: np.ndarray
    levels: float
    tolerance: float = 0.51
    options: dict[str, Any] = field(default_factory=dict[str, Any])


def odd_images() -> list[OddImage]:
    """Every kind; the same each time."""
    rng = np.random.default_rng(15)
    kinds = (pngs, orientations, jpegs, tiffs, tiff_layouts, tiff_extra_bands, arrays, other_formats, profiles)
    return [image for kind in kinds for image in kind(rng)]


def draw(rng: np.random.Generator, channels: int, dtype: str, highest: float, lowest: float = 0) -> np.ndarray:
    """Random values that reach from `lowest` to `highest`, H x W x C."""
    values = rng.uniform(lowest, highest, (HEIGHT, WIDTH, channels))
    values[0, 0], values[0, 1] = lowest, highest
    return (values if np.issubdtype(dtype, np.floating) else np.rint(values)).astype(dtype)


def over_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return color * alpha + (1 - alpha)


def pngs(rng: np.random.Generator) -> Iterator[OddImage]:
    for bits, mode in itertools.product((8, 16), ("grey", "grey-alpha", "rgb", "rgb-alpha")):
        highest = 2**bits - 1
        channels = {"grey": 1, "grey-alpha": 2, "rgb": 3, "rgb-alpha": 4}[mode]
        pixels = draw(rng, channels, f"uint{bits}", highest)
        values = pixels / highest
        if "alpha" in mode:
            values = over_white(values[..., :-1], values[..., -1:])
        data = imagecodecs.png_encode(pixels if channels > 1 else pixels[..., 0])
        yield OddImage(f"png-{mode}-{bits}.png", data, values, highest, 1.01 if "alpha" in mode else 0.51)
    for bits in (1, 2, 4):
        pixels = draw(rng, 1, "uint8", 2**bits - 1)
        yield OddImage(f"png-grey-{bits}.png", png_chunks(pixels[..., 0], bits), pixels / (2**bits - 1), 255)
    palette = rng.integers(0, 256, (16, 3), np.uint8)
    pixels = draw(rng, 1, "uint8", 15)
    image = Image.fromarray(pixels[..., 0], "P")
    image.putpalette(palette.tobytes())
    values = palette[pixels[..., 0]] / 255
    yield OddImage("png-palette.png", saved(image, "PNG"), values, 255)
    clear = np.where(pixels == 3, 1.0, values)
    yield OddImage("png-palette-clear.png", saved(image, "PNG", transparency=3), clear, 255)
    pixels = draw(rng, 3, "uint8", 255)
    yield OddImage("png-gamma.png", png_chunks(pixels, 8, gamma=45455), pixels / 255, 255)
    pixels = draw(rng, 1, "uint16", 4095)
    data = imagecodecs.png_encode(pixels[..., 0])
    yield OddImage("png-12-in-16.png", data, pixels / 4095, 4095, options={"white": "4095"})
    pixels = draw(rng, 3, "uint16", 4095)
    yield OddImage(
        "png-rgb-12-in-16.png", imagecodecs.png_encode(pixels), pixels / 4095, 4095, options={"white": "4095"}
    )
    pixels = draw(rng, 1, "uint16", 255)
    yield OddImage(
        "png-8-in-16.png", imagecodecs.png_encode(pixels[..., 0]), pixels / 255, 255, options={"white": "255"}
    )


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels as they are meant to be seen (TIFF 6.0, Orientation)."""
    flips = {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}
    if orientation in flips:
        return flips[orientation]
    across = pixels.swapaxes(0, 1)
    return {5: across, 6: across[:, ::-1], 7: across[::-1, ::-1], 8: across[::-1]}[orientation]


def orientations(rng: np.random.Generator) -> Iterator[OddImage]:
    for number in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = number
        pixels = draw(rng, 3, "uint8", 255)
        values = turned(pixels, number) / 255
        yield OddImage(f"png-turned-{number}.png", saved(Image.fromarray(pixels), "PNG", exif=exif), values, 255)
        smooth = np.linspace(0, 255, HEIGHT * WIDTH * 3).reshape(HEIGHT, WIDTH, 3).astype(np.uint8)
        data = saved(Image.fromarray(smooth), "JPEG", exif=exif, quality=95)
        values = turned(imagecodecs.jpeg_decode(data), number) / 255
        yield OddImage(f"jpeg-turned-{number}.jpg", data, values, 255, 6)
        for bits in (8, 16):
            pixels = draw(rng, 3, f"uint{bits}", 2**bits - 1)
            data = tiff(pixels, photometric="rgb", extratags=[(274, 3, 1, number, True)])
            values = turned(pixels, number) / (2**bits - 1)
            yield OddImage(f"tiff-turned-{number}-{bits}.tif", data, values, 2**bits - 1)


def jpegs(rng: np.random.Generator) -> Iterator[OddImage]:
    smooth = np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    color = np.stack([smooth, smooth[::-1], smooth[:, ::-1]], 2).astype(np.uint8)
    for subsampling, progressive in itertools.product((0, 1, 2), (False, True)):
        data = saved(Image.fromarray(color), "JPEG", quality=90, subsampling=subsampling, progressive=progressive)
        name = f"jpeg-{subsampling}-{'progressive' if progressive else 'baseline'}.jpg"
        yield OddImage(name, data, imagecodecs.jpeg_decode(data) / 255, 255, 1.01)
    data = saved(Image.fromarray(smooth.astype(np.uint8)), "JPEG", quality=95)
    yield OddImage("jpeg-grey.jpg", data, imagecodecs.jpeg_decode(data)[..., None] / 255, 255, 1.01)
    inks = np.stack([smooth, smooth[::-1], smooth[:, ::-1], smooth / 4], 2).astype(np.uint8)
    data = saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=100, subsampling=0)
    ink = inks / 255
    yield OddImage("jpeg-cmyk.jpg", data, (1 - ink[..., :3]) * (1 - ink[..., 3:]), 255, 5)


DTYPES = {"uint8": (255, 0), "uint16": (65535, 0), "int16": (3000, -1000), "uint32": (3000, 0), "int32": (255, 0)}
FLOATS = {"float32": (2.5, -0.5), "float64": (1.0, 0.0)}


def tiffs(rng: np.random.Generator) -> Iterator[OddImage]:
    for (dtype, (highest, lowest)), bands in itertools.product((DTYPES | FLOATS).items(), (1, 2, 3, 4, 5)):
        pixels = draw(rng, bands, dtype, highest, lowest)
        values = (pixels.astype(np.float64) - lowest) / (highest - lowest)
        given = dtype not in ("uint8", "uint16")
        options = {"white": f"{highest}", "black": f"{lowest}"} if given else {}
        data = tiff(pixels if bands > 1 else pixels[..., 0], photometric="minisblack", planarconfig="contig")
        # Errors of floats are counted in parts of 100,000 of the range.
        levels = 1e5 if dtype in FLOATS else highest - lowest
        yield OddImage(f"tiff-{dtype}-{bands}.tif", data, values, levels, options=options)


def tiff_layouts(rng: np.random.Generator) -> Iterator[OddImage]:
    layouts: dict[str, dict[str, Any]] = {
        "lzw": {"compression": "lzw"},
        "lzw-predictor": {"compression": "lzw", "predictor": True},
        "deflate": {"compression": "zlib"},
        "deflate-predictor": {"compression": "zlib", "predictor": True},
        "zstd": {"compression": "zstd"},
        "packbits": {"compression": "packbits"},
        "tiled": {"tile": (16, 16)},
        "tiled-lzw": {"tile": (16, 16), "compression": "lzw"},
        "strips": {"rowsperstrip": 5},
        "big-endian": {"byteorder": ">"},
        "bigtiff": {"bigtiff": True},
    }
    for (name, options), bits in itertools.product(layouts.items(), (8, 16)):
        pixels = draw(rng, 3, f"uint{bits}", 2**bits - 1)
        data = tiff(pixels, photometric="rgb", **options)
        yield OddImage(f"tiff-{name}-{bits}.tif", data, pixels / (2**bits - 1), 2**bits - 1)
        if "tile" in options:
            continue
        planes = draw(rng, 3, f"uint{bits}", 2**bits - 1)
        data = tiff(planes.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", **options)
        yield OddImage(f"tiff-{name}-planes-{bits}.tif", data, planes / (2**bits - 1), 2**bits - 1)
    for bits in (1, 2, 4, 10, 12, 14):
        highest = 2**bits - 1
        pixels = draw(rng, 1, "uint8" if bits < 8 else "uint16", highest)
        data = tiff(pixels[..., 0], photometric="minisblack", bitspersample=bits)
        yield OddImage(f"tiff-{bits}-bits.tif", data, pixels / highest, max(255, highest))
    for bits in (8, 16):
        pixels = draw(rng, 1, f"uint{bits}", 2**bits - 1)
        data = tiff(pixels[..., 0], photometric="miniswhite")
        yield OddImage(f"tiff-white-is-0-{bits}.tif", data, 1 - pixels / (2**bits - 1), 2**bits - 1)
    palette = rng.integers(0, 256, (3, 256)).astype(np.uint16) * 257
    pixels = draw(rng, 1, "uint8", 255)
    data = tiff(pixels[..., 0], photometric="palette", colormap=palette)
    yield OddImage("tiff-palette.tif", data, palette.T[pixels[..., 0]] / 65535, 255)
    pages = draw(rng, 3, "uint8", 255), draw(rng, 3, "uint8", 255)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in pages:
            writer.write(page, photometric="rgb")
    yield OddImage("tiff-pages.tif", buffer.getvalue(), pages[0] / 255, 255)


def tiff_extra_bands(rng: np.random.Generator) -> Iterator[OddImage]:
    """RGB and grey with one band more: alpha only where the file says so."""
    for bits, extra, bands in itertools.product((8, 16), ("unassalpha", "assocalpha", "unspecified"), (2, 4)):
        highest, kind = 2**bits - 1, "rgb" if bands == 4 else "minisblack"
        pixels = draw(rng, bands, f"uint{bits}", highest)
        if extra == "assocalpha":
            pixels[..., :-1] = np.minimum(pixels[..., :-1], pixels[..., -1:])
        values = pixels / highest
        color, alpha = values[..., :-1], values[..., -1:]
        # Over white: premultiplied colours only need what the alpha leaves of white.
        seen = {"unassalpha": over_white(color, alpha), "assocalpha": color + 1 - alpha, "unspecified": values}[extra]
        name, data = f"tiff-{kind}-{extra}-{bits}.tif", tiff(pixels, photometric=kind, extrasamples=[extra])
        yield OddImage(name, data, seen, highest, 0.51 if extra == "unspecified" else 1.51)
        options = {"bands_a": "all"}
        yield OddImage(f"bands-all-{name}", data, values, highest, options=options)
        options = {"bands_a": f"{bands},1"}
        yield OddImage(f"bands-two-{name}", data, values[..., [-1, 0]], highest, options=options)


def arrays(rng: np.random.Generator) -> Iterator[OddImage]:
    for (dtype, (highest, lowest)), bands in itertools.product((DTYPES | FLOATS).items(), (1, 3, 7)):
        pixels = draw(rng, bands, dtype, highest, lowest)
        values = (pixels.astype(np.float64) - lowest) / (highest - lowest)
        given = dtype not in ("uint8", "uint16")
        options = {"white": f"{highest}", "black": f"{lowest}"} if given else {}
        levels = 1e5 if dtype in FLOATS else highest - lowest
        order = np.asfortranarray(pixels) if bands == 3 else pixels[..., 0] if bands == 1 else pixels
        yield OddImage(f"npy-{dtype}-{bands}.npy", npy(order), values, levels, options=options)
    pixels = draw(rng, 4, "uint16", 3000)
    values = pixels / 3000
    yield OddImage("npy-reflectance.npy", npy(pixels), values, 3000, options={"white": "3000"})
    big_endian = draw(rng, 1, "uint16", 65535)
    yield OddImage("npy-big-endian.npy", npy(big_endian.astype(">u2")), big_endian / 65535, 65535)


def other_formats(rng: np.random.Generator) -> Iterator[OddImage]:
    color, grey = draw(rng, 3, "uint8", 255), draw(rng, 1, "uint8", 255)
    yield OddImage("bmp.bmp", saved(Image.fromarray(color), "BMP"), color / 255, 255)
    palette = rng.integers(0, 256, (256, 3), np.uint8)
    yield OddImage("bmp-palette.bmp", bmp_palette(grey[..., 0], palette), palette[grey[..., 0]] / 255, 255)
    yield OddImage("ppm.ppm", saved(Image.fromarray(color), "PPM"), color / 255, 255)
    yield OddImage("pgm.pgm", saved(Image.fromarray(grey[..., 0]), "PPM"), grey / 255, 255)
    for maximum in (100, 1023, 4095, 65535):
        pixels = draw(rng, 1, "uint16", maximum)
        yield OddImage(
            f"pgm-{maximum}.pgm", pgm_with_maximum(pixels[..., 0], maximum), pixels / maximum, max(255, maximum)
        )
    yield OddImage("webp.webp", imagecodecs.webp_encode(color, lossless=True), color / 255, 255)
    alpha = draw(rng, 4, "uint8", 255)
    values = over_white(alpha[..., :3] / 255, alpha[..., 3:] / 255)
    data = saved(Image.fromarray(alpha), "WEBP", lossless=True, exact=True)
    yield OddImage("webp-alpha.webp", data, values, 255, 1.01)
    indices = draw(rng, 1, "uint8", 15)
    image = Image.fromarray(indices[..., 0], "P")
    image.putpalette(palette[:16].tobytes())
    yield OddImage("gif.gif", saved(image, "GIF"), palette[indices[..., 0]] / 255, 255)


# Adobe RGB (1998): primaries and white D65, gamma 563 / 256. To XYZ, then to sRGB (IEC 61966-2-1).
ADOBE_TO_XYZ = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]])
XYZ_TO_SRGB = np.array([[3.24045, -1.53714, -0.49853], [-0.96927, 1.87601, 0.04156], [0.05564, -0.20403, 1.05723]])


def adobe_to_srgb(values: np.ndarray) -> np.ndarray:
    linear = np.clip(values ** (563 / 256) @ ADOBE_TO_XYZ.T @ XYZ_TO_SRGB.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def profiles(rng: np.random.Generator) -> Iterator[OddImage]:
    profile = imagecodecs.cms_profile("adobergb")
    # Colours that sRGB has too.
    pixels = np.clip(draw(rng, 3, "uint8", 200), 60, 200)
    values = adobe_to_srgb(pixels / 255)
    for name, format in (("png", "PNG"), ("tif", "TIFF"), ("webp", "WEBP")):
        options = {"lossless": True} if format == "WEBP" else {}
        data = saved(Image.fromarray(pixels), format, icc_profile=profile, **options)
        yield OddImage(f"{name}-adobe-rgb.{name}", data, values, 255, 2.01)
    flat = np.full((16, 16, 3), (90, 160, 120), np.uint8)
    data = saved(Image.fromarray(flat), "JPEG", quality=100, subsampling=0, icc_profile=profile)
    yield OddImage("jpeg-adobe-rgb.jpg", data, adobe_to_srgb(flat / 255), 255, 3)
    srgb = imagecodecs.cms_profile("srgb")
    data = saved(Image.fromarray(pixels), "PNG", icc_profile=srgb)
    yield OddImage("png-srgb.png", data, pixels / 255, 255, 1.01)
    yield OddImage(
        "png-profile-broken.png", saved(Image.fromarray(pixels), "PNG", icc_profile=b"no"), pixels / 255, 255
    )
    wide = draw(rng, 3, "uint16", 42000, 30000)
    data = tiff(wide, photometric="rgb", iccprofile=profile)
    yield OddImage("tiff-adobe-rgb-16.tif", data, adobe_to_srgb(wide / 65535), 65535, 600)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    writer = {key: options.pop(key) for key in ("byteorder", "bigtiff") if key in options}
    with tifffile.TiffWriter(buffer, **writer) as file:
        file.write(pixels, metadata=None, **options)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
