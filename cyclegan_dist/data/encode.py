"""Encoding of images as files, for data sets and translations."""

import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cyclegan_dist.data.arrays import PICTURES, array_bytes
from cyclegan_dist.data.images import UnreadableImageError, from_pillow, read_image, to_pillow, windowed
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
        to_pillow(_channels_first(array)).save(buffer, "JPEG", quality=quality)
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


def _reduced(image: Tensor, load_size: int) -> Tensor:
    """The shorter side reduced to `load_size`."""
    height, width = image.shape[1:]
    scale = load_size / min(height, width)
    size = max(load_size, round(width * scale)), max(load_size, round(height * scale))
    smaller = [Image.fromarray(channel.numpy()).resize(size, Image.Resampling.BICUBIC) for channel in image]
    return torch.cat([from_pillow(channel) for channel in smaller])
