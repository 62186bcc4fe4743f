"""Encoding of images as files, for data sets and translations."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cyclegan_dist.data.arrays import PICTURES, array_bytes
from cyclegan_dist.data.config import MAX_PIXELS
from cyclegan_dist.data.images import from_pillow, read_image, to_pillow
from cyclegan_dist.data.picture import Picture, Source, UnreadableImageError
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
    """

    load_size: int | None = None
    quality: int = 95
    half: Half = ""
    bands: Sequence[int] | None = None
    max_pixels: int = MAX_PIXELS
    values: ValueRange | None = None


def read_half(path: Path, reading: Reading, white: float | None) -> tuple[Picture, Tensor]:
    """A file as `read_image` reads it, and its pixels, or those of the half that is wanted.

    Raises:
        UnreadableImageError: as `read_image`.
    """
    picture = read_image(path, bands=reading.bands, max_pixels=reading.max_pixels, white=white)
    middle = picture.pixels.shape[2] // 2
    if not reading.half:
        return picture, picture.pixels
    return picture, picture.pixels[:, :, :middle] if reading.half == "left" else picture.pixels[:, :, -middle:]


def encode_file(folder: Path, name: str, reading: Reading) -> EncodedImage:
    """Convert one file of `folder` for training.

    JPEG and PNG files that are opaque, upright, sRGB, of one frame and not to be resized keep their bytes; others are
    re-encoded: as JPEG if they were JPEG, as PNG if they have 8 or 16 bits and 1 or 3 channels, and else as `.npy`.

    Args:
        folder: the domain's folder.
        name: of the file, relative to it.
        reading: how to read and store it.

    Raises:
        UnreadableImageError: as `read_image`, if the name is not Unicode, and if its values are not of the domain's
            type.
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
    if reading.load_size is not None and min(pixels.shape[1:]) > reading.load_size:
        pixels = (_reduced_values if deep else _reduced)(pixels, reading.load_size)
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
    if len(pixels) in PICTURES and pixels.dtype == torch.uint16:
        import imagecodecs

        data = bytes(imagecodecs.png_encode(np.ascontiguousarray(_last(pixels).squeeze())))
        return EncodedImage(name, data, "png", *_facts(pixels))
    return EncodedImage(name, array_bytes(_last(pixels)), "npy", *_facts(pixels))


def encode_image(image: Tensor, name: str, extension: str = "png", quality: int = 95) -> EncodedImage:
    """A C x H x W uint8 image as JPEG (`jpg`) or PNG (`png`) bytes, or as those of an `.npy` file if its channels are
    not 1 or 3.
    """
    if len(image) not in PICTURES:
        return EncodedImage(name, array_bytes(_last(image)), "npy", *_facts(image))
    buffer = io.BytesIO()
    if extension == "jpg":
        to_pillow(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    else:
        to_pillow(image).save(buffer, "PNG")
    return EncodedImage(name, buffer.getvalue(), extension, *_facts(image))


def write_image(image: Tensor, path: Path) -> None:
    """Write a C x H x W uint8 image in the format of the path's ending.

    Raises:
        OSError, ValueError: if it cannot be written, or not in that format.
    """
    if path.suffix.lower() == ".npy":
        path.write_bytes(array_bytes(_last(image)))
    elif len(image) not in PICTURES:
        raise ValueError(f"an image of {len(image)} channels must end in .npy")
    else:
        to_pillow(image).save(path, quality=95)  # used by JPEG and WebP, ignored by the others


def _last(image: Tensor) -> np.ndarray:
    """H x W x C."""
    return image.permute(1, 2, 0).numpy()


def _facts(image: Tensor) -> tuple[int, int, str]:
    """Width, height and mode."""
    channels, height, width = image.shape
    return width, height, {1: "L", 3: "RGB"}.get(channels, f"C{channels}")


def _reduced(image: Tensor, load_size: int) -> Tensor:
    """The shorter side reduced to `load_size`."""
    height, width = _reduced_size(image, load_size)
    smaller = [Image.fromarray(c.numpy()).resize((width, height), Image.Resampling.BICUBIC) for c in image]
    return torch.cat([from_pillow(channel) for channel in smaller])


def _reduced_values(image: Tensor, load_size: int) -> Tensor:
    """The same for values of more than 8 bits, by the same filter."""
    small = F.interpolate(image[None].double(), _reduced_size(image, load_size), mode="bicubic", antialias=True)[
        0
    ].numpy()
    kind = np.dtype(str(image.dtype).removeprefix("torch."))
    if kind.kind in "ui":
        small = np.rint(small).clip(np.iinfo(kind).min, np.iinfo(kind).max)
    return torch.from_numpy(small.astype(kind))


def _reduced_size(image: Tensor, load_size: int) -> tuple[int, int]:
    height, width = image.shape[1:]
    scale = load_size / min(height, width)
    return max(load_size, round(height * scale)), max(load_size, round(width * scale))
