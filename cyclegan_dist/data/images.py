"""The decoder of image files to 8-bit images, for preparing, training, translating and serving.

Files are untrusted: sizes are checked before pixels are read, only the formats listed here are tried (Pillow supports
some that start other programs), and every failure is an `UnreadableImageError`.
"""

import io
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from PIL.ImageFile import ImageFile
from torch import Tensor

from cyclegan_dist.data.arrays import MAGIC, PICTURES, read_array
from cyclegan_dist.data.config import MAX_FILE_BYTES, MAX_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
PngImagePlugin.MAX_TEXT_MEMORY = 8 << 20  # Pillow's default allows 64 MB of comments in one PNG
_ORIENTATION = 0x0112
# ImageOps.exif_transpose is not used: it also rewrites the EXIF data, which fails for some cameras.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(ValueError):
    """A file is not an image that can be used; the message says why."""


@dataclass(frozen=True)
class Picture:
    """The content of an image file.

    Attributes:
        pixels: C x H x W uint8, upright, transparency over white.
        extension: of the file type to store it as: jpg, png or npy.
        as_is: whether the file itself is of that type and holds these pixels and nothing else.
        note: what of the file was discarded, or empty.
    """

    pixels: Tensor
    extension: str
    as_is: bool
    note: str = ""


def read_image(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The first frame of an image file, on disk or in memory, or the array of an `.npy` file.

    Raises:
        UnreadableImageError: if it is not an image, is damaged or too large, or has values of unknown range.
    """
    try:
        with _opened(source) as file:
            if file.read(len(MAGIC)) == MAGIC:
                file.seek(0)
                return _array(file)
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                return _picture(image)
    except UnreadableImageError:
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableImageError(f"no image: neither {', '.join(FORMATS)} nor .npy") from None
    except Exception as error:  # damaged files make Pillow's plugins raise nearly anything, struct.error for one
        raise UnreadableImageError(str(error) or type(error).__name__) from error


def decode(source: Path | bytes, channels: int) -> Tensor:
    """An image file, on disk or in memory, as C x H x W uint8 with the given number of channels.

    Raises:
        UnreadableImageError: as `read_image`, and as `with_channels`.
    """
    return with_channels(read_image(source).pixels, channels)


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """C x H x W uint8 as `channels` x H x W. Only grey and colour are converted into each other.

    Raises:
        UnreadableImageError: if it cannot.
    """
    found = len(pixels)
    if found == channels:
        return pixels
    if found not in PICTURES or channels not in PICTURES:
        raise UnreadableImageError(
            f"it has {found} channels instead of {channels}: set method.input_nc (domain A) or "
            f"method.output_nc (domain B) to {found}, or give other images"
        )
    return pixels.repeat(3, 1, 1) if found == 1 else from_pillow(to_pillow(pixels).convert("L"))


def from_pillow(image: Image.Image) -> Tensor:
    """A Pillow image of mode L or RGB as C x H x W uint8."""
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)


def to_pillow(pixels: Tensor) -> Image.Image:
    """C x H x W uint8 with 1 or 3 channels as a Pillow image of mode L or RGB."""
    return Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy())


def visible(images: Tensor) -> Tensor:
    """... x C x H x W images as ones that can be displayed: the first three channels, or the first of two."""
    channels = images.shape[-3]
    return images if channels in PICTURES else images[..., : 1 if channels == 2 else 3, :, :]


def to_unit_range(
    x: Tensor,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """8-bit images in [-1, 1]. Floating-point images are in it: only device, type and memory format change."""
    moved = x.to(device, non_blocking=True).to(dtype, memory_format=memory_format)
    return moved if x.is_floating_point() else moved.div_(127.5).sub_(1)


def to_bytes(x: Tensor) -> Tensor:
    """Images in [-1, 1] as 8-bit ones on the CPU."""
    return x.detach().float().add(1).mul(127.5).round().clamp(0, 255).to("cpu", torch.uint8)


def windowed(images: Tensor) -> Tensor:
    """Images with 8 bits, for people and networks of features: uint8 unchanged, float32 in [-1, 1] by `to_bytes`."""
    return images if images.dtype == torch.uint8 else to_bytes(images)


def _opened(source: Path | bytes) -> BinaryIO:
    """A regular file, opened, of at most MAX_FILE_BYTES."""
    if isinstance(source, bytes):
        size = len(source)
    else:
        facts = source.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise UnreadableImageError("a link to a folder, which is not followed: move the folder here")
        if not stat.S_ISREG(facts.st_mode):
            raise UnreadableImageError("a device or pipe, no file")
        size = facts.st_size
    if size > MAX_FILE_BYTES:
        raise UnreadableImageError(f"{size:,} bytes are more than the {MAX_FILE_BYTES:,} we read")
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _array(file: BinaryIO) -> Picture:
    pixels = torch.from_numpy(read_array(file, max_pixels=MAX_PIXELS)).permute(2, 0, 1)
    return Picture(pixels, "png" if len(pixels) in PICTURES else "npy", as_is=False)


def _picture(image: ImageFile) -> Picture:
    """The content of an image whose header has been read."""
    tags = getattr(image, "tag_v2", {})
    tile = tags.get(322, 0), tags.get(323, 0)  # a TIFF's tile is unpacked whole, however small the image
    for width, height in (image.size, tile):
        if width * height > MAX_PIXELS:
            raise UnreadableImageError(f"{width}x{height} are more than the {MAX_PIXELS:,} pixels we read: reduce it")
    sixteen_bits = ";16" in str(image.tile)
    image.load()  # turns a TIFF upright
    turn, doubt = _orientation(image)
    jpeg = image.format in ("JPEG", "MPO")  # MPO: a JPEG followed by a preview or a depth map
    animated = getattr(image, "is_animated", False) and not jpeg
    plain = image.mode in ("L", "RGB") and "transparency" not in image.info
    as_is = plain and (jpeg or image.format == "PNG") and turn is None and not (sixteen_bits or animated)
    pixels = _eight_bit(image if turn is None else image.transpose(turn))
    notes = [f"first of {_frames(image)} frames taken"] * animated + [doubt] * bool(doubt)
    return Picture(pixels, "jpg" if jpeg else "png", as_is, "; ".join(notes))


def _frames(image: Image.Image) -> str:
    # Pillow looks for loops in a TIFF's chain of pages at each page, so that counting them could take too long.
    return "several" if image.format == "TIFF" else str(getattr(image, "n_frames", "several"))


def _orientation(image: Image.Image) -> tuple[Image.Transpose | None, str]:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1)), ""
    except Exception as error:  # any error again: EXIF data is often broken
        return None, f"its EXIF data cannot be read ({error}), so it was not turned"


def _eight_bit(image: Image.Image) -> Tensor:
    if image.mode == "F":
        raise UnreadableImageError("floating-point pixels have no known range: save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _upper_byte(image)
    grey = image.mode in ("1", "L", "LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if grey else "RGB"
    return from_pillow(image if image.mode == mode else image.convert(mode))


def _upper_byte(image: Image.Image) -> Tensor:
    """The upper byte of 16-bit integers, which Pillow would saturate."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnreadableImageError(
            f"its values, {values.min()} to {values.max()}, have no known range: save it with 8 or 16 bits"
        )
    tags = getattr(image, "tag_v2", {})
    bits = min(16, *tags.get(258, (16,)))  # scanners write 12-bit TIFFs
    levels = (values >> (bits - 8)).astype(np.uint8)
    if tags.get(262) == 0:  # 0 is white here
        levels = 255 - levels
    if isinstance(clear := image.info.get("transparency"), int):
        levels[values == clear] = 255
    return torch.from_numpy(levels)[None]
