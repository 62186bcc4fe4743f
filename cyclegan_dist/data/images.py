"""Image files of any kind as 8-bit pictures, and pictures as bytes: one decoder, Pillow, for all of the program."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
COLOURS = {1: "L", 3: "RGB"}  # Pillow's mode for a number of channels
MAX_PIXELS = 100_000_000  # above this a file is more likely a decompression bomb than a picture


class UnreadableImageError(Exception):
    """A file is not an image that can be read; the message says why."""


@dataclass(frozen=True)
class EncodedImage:
    """The bytes of one JPEG or PNG file. `name` is relative to the folder it came from; `mode` is Pillow's, L or
    RGB.
    """

    name: str
    data: bytes
    extension: str
    width: int
    height: int
    mode: str


def list_images(folder: Path) -> list[str]:
    """Relative names of the image files under `folder`, in order; hidden files and folders are passed over."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def open_image(source: Path | BinaryIO) -> Image.Image:
    """The first frame of an image file, on disk or open, as L or RGB with 8 bits, upright, transparency over white.

    Raises:
        UnreadableImageError: if it is no image, damaged, too large, or of floating-point values.
    """
    with _reading(source) as image:
        return _eight_bit(ImageOps.exif_transpose(image))


def encode_file(folder: Path, name: str, load_size: int | None, quality: int) -> EncodedImage:
    """Make one file of `folder` fit for training.

    JPEG and PNG files that are 8-bit, upright and not to be resized keep their bytes; others are encoded anew, as JPEG
    of `quality` if they were JPEG and as PNG otherwise.

    Args:
        folder: the domain's folder.
        name: of the file, relative to it.
        load_size: pixels the shorter side is reduced to; None keeps the size. Images are never enlarged.
        quality: of JPEG, 1 to 100.

    Raises:
        UnreadableImageError: as `open_image`.
    """
    path = folder / name
    with _reading(path) as image:
        kind, upright = image.format, image.getexif().get(0x0112, 1) == 1
        smaller = load_size is not None and min(image.size) > load_size
        if kind in ("JPEG", "PNG") and image.mode in ("L", "RGB") and upright and not smaller:
            image.load()  # decoded once, so that it cannot fail in training
            return EncodedImage(name, path.read_bytes(), {"JPEG": "jpg", "PNG": "png"}[kind], *image.size, image.mode)
        fit = _eight_bit(ImageOps.exif_transpose(image))
    if smaller:
        assert load_size is not None
        scale = load_size / min(fit.size)
        width, height = (max(load_size, round(side * scale)) for side in fit.size)
        fit = fit.resize((width, height), Image.Resampling.BICUBIC)
    return encode_image(fit, name, "jpg" if kind == "JPEG" else "png", quality)


def encode_image(image: Image.Image, name: str, extension: str, quality: int = 95) -> EncodedImage:
    """A picture in memory as JPEG (`jpg`) or PNG (`png`) bytes."""
    buffer = io.BytesIO()
    if extension == "jpg":
        image.save(buffer, "JPEG", quality=quality)
    else:
        image.save(buffer, "PNG")
    return EncodedImage(name, buffer.getvalue(), extension, *image.size, image.mode)


def decode(data: bytes, channels: int) -> Tensor:
    """One prepared image as C x H x W uint8 with 1 or 3 channels.

    Raises:
        OSError, ValueError: if the bytes are no whole image.
    """
    with Image.open(io.BytesIO(data)) as image:
        return pil_to_tensor(image.convert(COLOURS[channels]))


def to_unit_range(
    x: Tensor,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """8-bit images in [-1, 1]."""
    return x.to(device, non_blocking=True).to(dtype, memory_format=memory_format).div(127.5).sub(1)


def to_bytes(x: Tensor) -> Tensor:
    """Images in [-1, 1] as 8-bit ones on the CPU."""
    return x.detach().float().add(1).mul(127.5).round().clamp(0, 255).to("cpu", torch.uint8)


@contextlib.contextmanager
def _reading(source: Path | BinaryIO) -> Iterator[Image.Image]:
    """An image file, its header read and found reasonable."""
    try:
        with Image.open(source) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImageError(
                    f"{image.width}x{image.height} are more than the {MAX_PIXELS:,} pixels we read"
                )
            yield image
    except UnreadableImageError:
        raise
    except Exception as error:  # damaged files make Pillow's plugins raise nearly anything, struct.error for one
        raise UnreadableImageError(str(error) or type(error).__name__) from error


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        image.load()
        return image
    if image.mode == "F":
        raise UnreadableImageError("floating-point pixels have no known range: save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):  # Pillow would saturate: take the upper 8 of 16 bits
        return image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")
