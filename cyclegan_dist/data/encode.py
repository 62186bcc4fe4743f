"""Encoding of images as files, for data sets and translations."""

import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cyclegan_dist.data.arrays import PICTURES, array_bytes
from cyclegan_dist.data.images import UnreadableImageError, from_pillow, read_image, to_pillow

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
    """

    name: str
    data: bytes
    extension: str
    width: int
    height: int
    mode: str
    note: str = ""


def encode_file(folder: Path, name: str, load_size: int | None, quality: int, half: Half = "") -> EncodedImage:
    """Convert one file of `folder` for training.

    JPEG and PNG files that are 8-bit, opaque, upright, of one frame and not to be resized keep their bytes; others are
    re-encoded, as JPEG of `quality` if they were JPEG, as `.npy` if they have other than 1 or 3 channels, and else as
    PNG.

    Args:
        folder: the domain's folder.
        name: of the file, relative to it.
        load_size: pixels the shorter side is reduced to; None keeps the size. Images are never enlarged.
        quality: of JPEG, 1 to 100.
        half: `left` or `right` takes that half of the image.

    Raises:
        UnreadableImageError: as `read_image`, and if the name is not Unicode.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UnreadableImageError("its name is not UTF-8: rename it") from None
    with warnings.catch_warnings(record=True) as caught:  # decoders report questionable files as warnings
        warnings.simplefilter("always")
        picture = read_image(folder / name)
    note = "; ".join(filter(None, [picture.note, *(" ".join(str(warning.message).split()) for warning in caught)]))
    pixels = picture.pixels
    if half:
        middle = pixels.shape[2] // 2
        pixels = pixels[:, :, :middle] if half == "left" else pixels[:, :, -middle:]
    if load_size is not None and min(pixels.shape[1:]) > load_size:
        pixels = _reduced(pixels, load_size)
    elif picture.as_is and not half:
        data = (folder / name).read_bytes()
        return EncodedImage(name, data, picture.extension, *_facts(pixels), note)
    return replace(encode_image(pixels, name, picture.extension, quality), note=note)


def encode_image(image: Tensor, name: str, extension: str = "png", quality: int = 95) -> EncodedImage:
    """A C x H x W uint8 image as JPEG (`jpg`) or PNG (`png`) bytes, or as those of an `.npy` file if its channels are
    not 1 or 3.
    """
    if len(image) not in PICTURES:
        return EncodedImage(name, array_bytes(_last(image)), "npy", *_facts(image))
    buffer = io.BytesIO()
    if extension == "jpg":
        to_pillow(image).save(buffer, "JPEG", quality=quality)
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
    height, width = image.shape[1:]
    scale = load_size / min(height, width)
    size = max(load_size, round(width * scale)), max(load_size, round(height * scale))
    smaller = [Image.fromarray(channel.numpy()).resize(size, Image.Resampling.BICUBIC) for channel in image]
    return torch.cat([from_pillow(channel) for channel in smaller])
