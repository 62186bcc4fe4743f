"""Image files of any kind as 8-bit pictures, and pictures as bytes.

For files users bring: preparation and translation. Training decodes prepared bytes, in `loader`.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torchvision.io import decode_image

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
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


def open_image(path: Path) -> Image.Image:
    """The first frame of an image file as L or RGB with 8 bits, upright, transparency over white.

    Raises:
        UnreadableImageError: if it is no image, damaged, too large, or of floating-point values.
    """
    try:
        with Image.open(path) as image:
            _refuse_bomb(image)
            return _eight_bit(ImageOps.exif_transpose(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from error


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
    try:
        with Image.open(path) as header:
            _refuse_bomb(header)
            kind, mode, size = header.format, header.mode, header.size
            upright = header.getexif().get(0x0112, 1) == 1
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from error
    smaller = load_size is not None and min(size) > load_size
    if kind in ("JPEG", "PNG") and mode in ("L", "RGB") and upright and not smaller:
        data = path.read_bytes()
        if _is_eight_bit(data):
            return EncodedImage(name, data, {"JPEG": "jpg", "PNG": "png"}[kind], *size, mode)
    image = open_image(path)
    if smaller:
        assert load_size is not None
        scale = load_size / min(image.size)
        width, height = (max(load_size, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return encode_image(image, name, "jpg" if kind == "JPEG" else "png", quality)


def encode_image(image: Image.Image, name: str, extension: str, quality: int = 95) -> EncodedImage:
    """A picture in memory as JPEG (`jpg`) or PNG (`png`) bytes."""
    buffer = io.BytesIO()
    if extension == "jpg":
        image.save(buffer, "JPEG", quality=quality)
    else:
        image.save(buffer, "PNG")
    return EncodedImage(name, buffer.getvalue(), extension, *image.size, image.mode)


def _refuse_bomb(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImageError(
            f"{image.width}x{image.height} pixels are more than the {MAX_PIXELS:,} that are read"
        )


def _is_eight_bit(data: bytes) -> bool:
    """Decode once with the decoder that training uses, so that it cannot fail there; 16-bit colour PNGs are the ones
    that are not.
    """
    try:
        return decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8)).dtype == torch.uint8
    except (RuntimeError, ValueError) as error:
        raise UnreadableImageError(str(error).splitlines()[0]) from error


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
