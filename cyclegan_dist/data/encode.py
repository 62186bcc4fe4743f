"""Encoding of images as files, for data sets and translations."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cyclegan_dist.data.arrays import PICTURES, array_bytes
from cyclegan_dist.data.config import MAX_PIXELS
from cyclegan_dist.data.files import printable
from cyclegan_dist.data.images import read_image, to_pillow, windowed
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.data.picture import Picture, Source, UnreadableImageError
from cyclegan_dist.data.resizing import label_map, resized, resized_values, stored_size
from cyclegan_dist.data.values import ValueRange

Half = Literal["", "left", "right"]


@dataclass(frozen=True)
class EncodedImage:
    """The bytes of one JPEG, PNG or `.npy` file.

    Attributes:
        name: relative to the folder it came from.
        data: the bytes.
        extension: jpg, png or npy.
        width: in pixels.
        height: in pixels.
        mode: L, RGB, or C and the number of channels: C4.
        note: what of the source file was discarded, or empty.
        source: what the source file was; None if there was none.
        clipped: share of its values that are beyond black or white.
    """

    name: str
    data: bytes
    extension: str
    width: int
    height: int
    mode: str
    note: str = ""
    source: Source | None = None
    clipped: float = 0.0


@dataclass(frozen=True)
class Reading:
    """How the files of a domain are read and stored.

    Attributes:
        load_size: pixels the shorter side is reduced to; None keeps the size. Images are never enlarged.
        quality: of JPEG, 1 to 100.
        half: `left` or `right` takes that half of each image.
        bands: as for `read_image`.
        max_pixels: as for `read_image`.
        values: of the domain; None if it has 8 bits.
        square: both sides become `load_size`, and images become JPEGs.
        palette: of the domain if it holds label maps: they take nearest pixels and its exact colours.
    """

    load_size: int | None = None
    quality: int = 95
    half: Half = ""
    bands: Sequence[int] | None = None
    max_pixels: int = MAX_PIXELS
    values: ValueRange | None = None
    square: bool = False
    palette: Palette | None = None


def read_half(source: Path | bytes, reading: Reading, white: float | None) -> tuple[Picture, Tensor]:
    """A file as `read_image` reads it, and its pixels, or those of the half that is wanted.

    Raises:
        UnreadableImageError: as `read_image`.
    """
    picture = read_image(source, bands=reading.bands, max_pixels=reading.max_pixels, white=white)
    middle = picture.pixels.shape[2] // 2
    if not reading.half:
        return picture, picture.pixels
    return picture, picture.pixels[:, :, :middle] if reading.half == "left" else picture.pixels[:, :, -middle:]


def encode_file(folder: Path, name: str, reading: Reading) -> EncodedImage:
    """Convert one file of `folder` for training.

    JPEG and PNG files that are opaque, upright, sRGB, of one frame and not to be resized keep their bytes; others are
    re-encoded: as JPEG if they were JPEG, as PNG if they have 8 or 16 bits and 1 or 3 channels, and else as `.npy`.
    Label maps always become PNG.

    Args:
        folder: the domain's folder.
        name: of the file, relative to it.
        reading: how to read and store it.

    Raises:
        UnreadableImageError: as `read_image`, if the name is not Unicode, and if its values are not of the domain's
            type.
        UsageError: for a label map of other colours than the palette's.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UnreadableImageError("its name is not UTF-8: rename it") from None
    values = reading.values
    with warnings.catch_warnings(record=True) as caught:  # decoders report questionable files as warnings
        warnings.simplefilter("always")
        picture, pixels = read_half(folder / name, reading, None if values is None else values.white)
    notes = [picture.note, *(" ".join(str(warning.message).split()) for warning in caught)]
    deep = pixels.dtype != torch.uint8
    if deep and (values is None or str(pixels.dtype) != f"torch.{values.dtype}"):
        kind = "8 bits" if values is None else values.dtype
        raise UnreadableImageError(f"{pixels.dtype} values in a domain of {kind}".replace("torch.", ""))
    size = stored_size(pixels, reading.load_size, square=reading.square)
    if reading.palette is not None:
        if deep:
            raise UnreadableImageError("a label map must have 8 bits")
        encoded = encode_image(label_map(pixels, size, reading.palette, printable(folder / name)), name)
        return _described(encoded, picture, notes, pixels, values)
    if reading.square and (deep or len(pixels) not in PICTURES):
        raise UnreadableImageError("a photo must have 8 bits, and one or three channels")
    if reading.square:
        encoded = encode_image(resized(pixels, size), name, "jpg", reading.quality)
        return _described(encoded, picture, notes, pixels, values)
    if size != pixels.shape[1:]:
        pixels = (resized_values if deep else resized)(pixels, size)
    elif picture.as_is and not reading.half:
        data = (folder / name).read_bytes()
        return _described(EncodedImage(name, data, picture.extension, *_facts(pixels)), picture, notes, pixels, values)
    encoded = _encode_values(pixels, name) if deep else encode_image(pixels, name, picture.extension, reading.quality)
    return _described(encoded, picture, notes, pixels, values)


def _described(
    encoded: EncodedImage, picture: Picture, notes: list[str], pixels: Tensor, values: ValueRange | None
) -> EncodedImage:
    """With its source, its notes and the share of its values that the range clips."""
    clipped = 0.0
    if values is not None and pixels.dtype != torch.uint8:
        found = pixels.numpy()
        low, high = float(found.min()), float(found.max())
        clipped = float(((found < values.black) | (found > values.white)).mean())
        if low < high and len(np.unique(np.clip((low, high), values.black, values.white))) == 1:
            notes.append(f"all its values, {low:g} to {high:g}, are beyond black or white: it becomes constant")
    return replace(encoded, note="; ".join(filter(None, notes)), source=picture.source, clipped=clipped)


def _encode_values(pixels: Tensor, name: str) -> EncodedImage:
    """C x H x W values of more than 8 bits: uint16 with 1 or 3 channels as PNG, others as `.npy`."""
    array = pixels.permute(1, 2, 0).numpy()
    if len(pixels) in PICTURES and pixels.dtype == torch.uint16:
        return EncodedImage(name, _png(array), "png", *_facts(pixels))
    return EncodedImage(name, array_bytes(array), "npy", *_facts(pixels))


def holds(extension: str, channels: int, values: ValueRange | None) -> bool:
    """Whether files of a kind can hold images: `npy` and `tif` any, `png` those of 8 or 16 bits with 1 or 3 channels,
    and all others those of 8 bits with 1 or 3 channels.

    Args:
        extension: of the file type, in lower case and without a dot.
        channels: of the images.
        values: of the images' domain; None for 8 bits.
    """
    if extension in ("npy", "tif", "tiff"):
        return True
    deep = values is not None and not (extension == "png" and values.dtype == "uint16")
    return channels in PICTURES and not deep


def encode_image(
    image: Tensor, name: str, extension: str = "png", quality: int = 95, values: ValueRange | None = None
) -> EncodedImage:
    """An image as the bytes of a file: JPEG or PNG, with 16 bits for uint16 values, or `.npy` if neither holds it.

    Args:
        image: C x H x W uint8, or float32 in [-1, 1].
        name: of the file.
        extension: png or jpg.
        quality: of JPEG, 1 to 100.
        values: of the image's domain; None for 8 bits.
    """
    array = _values(image, values)
    facts = _facts(image)
    if extension == "jpg" and holds("jpg", len(image), values):
        buffer = io.BytesIO()
        to_pillow(_channels_first(array)).save(buffer, "JPEG", quality=quality, subsampling=0)
        return EncodedImage(name, buffer.getvalue(), "jpg", *facts)
    if holds("png", len(image), values):
        return EncodedImage(name, _png(array), "png", *facts)
    return EncodedImage(name, array_bytes(array), "npy", *facts)


def write_image(image: Tensor, path: Path, values: ValueRange | None = None) -> None:
    """Write an image in the format of the path's ending: JPEG of quality 100 with 4:4:4, WebP without loss.

    Args:
        image: C x H x W uint8, or float32 in [-1, 1].
        path: of the file.
        values: of the image's domain; None for 8 bits.

    Raises:
        OSError, ValueError: if it cannot be written, or not in that format.
    """
    extension, array = path.suffix.lower().removeprefix("."), _values(image, values)
    if not holds(extension, len(image), values):
        kind = f"of {values.dtype} and " if values else ""
        raise ValueError(f"an image {kind}of {len(image)} channels must end in .npy or .tif")
    if extension == "npy":
        path.write_bytes(array_bytes(array))
    elif array.dtype != np.uint8 and extension == "png":
        path.write_bytes(_png(array))
    elif array.dtype != np.uint8 or len(image) not in PICTURES:
        import tifffile  # where it is used: absent on a machine that reads only JPEG and PNG

        tifffile.imwrite(path, array[..., 0] if len(image) == 1 else array, **tiff_layout(len(image)))
    else:  # each format takes of these what it knows
        to_pillow(_channels_first(array)).save(path, quality=100, subsampling=0, lossless=True)


def tiff_layout(channels: int) -> dict[str, Any]:
    """Arguments of `tifffile` for H x W x C pixels (H x W of one channel), none of which is transparency."""
    if channels in PICTURES:
        return {"photometric": "rgb" if channels == 3 else "minisblack", "metadata": None}
    bands = {"planarconfig": "contig", "extrasamples": ["unspecified"] * (channels - 1)}
    return {"photometric": "minisblack", "metadata": None, **bands}


def _values(image: Tensor, values: ValueRange | None) -> np.ndarray:
    """H x W x C, of the type that a file gets."""
    array = windowed(image).numpy() if values is None else values.from_unit(image)
    return array.transpose(1, 2, 0)


def _channels_first(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).permute(2, 0, 1)


def _png(array: np.ndarray) -> bytes:
    if array.dtype == np.uint8:
        buffer = io.BytesIO()
        to_pillow(_channels_first(array)).save(buffer, "PNG")
        return buffer.getvalue()
    import imagecodecs  # Pillow writes colour with 8 bits only

    array = np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array)
    return bytes(imagecodecs.png_encode(array))


def _facts(image: Tensor) -> tuple[int, int, str]:
    """Width, height and mode."""
    channels, height, width = image.shape
    return width, height, {1: "L", 3: "RGB"}.get(channels, f"C{channels}")
