"""JPEG, PNG, WebP, BMP, GIF, PNM, and TIFF with palettes or inks, by Pillow; PNG of 16 bits in colour by imagecodecs,
because Pillow reads those with 8.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from PIL.ImageFile import ImageFile
from torch import Tensor

from cyclegan_dist.data.arrays import too_large
from cyclegan_dist.data.colour import image_to_srgb
from cyclegan_dist.data.files import FORMATS
from cyclegan_dist.data.layers import Layers, in_order, taken
from cyclegan_dist.data.picture import Picture, Source, UnreadableImageError

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


def read_by_pillow(file: BinaryIO, bands: Sequence[int] | None, max_pixels: int, white: float | None = None) -> Picture:
    """The first frame of an image file; arguments as `read_image`.

    Raises:
        UnreadableImageError, and nearly anything else if it is damaged.
    """
    # Pillow's own limit may be lower than a caller's. It is never lowered, since other code may have raised it.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > max_pixels:
            raise UnreadableImageError(too_large(*image.size, max_pixels))
        arguments = str(image.tile)
        if image.format == "PNG" and ";16" in arguments and not image.mode.startswith("I;16"):
            return _deep_png(image, file).picture(bands, white)
        stored = getattr(image, "tag_v2", {}).get(_ORIENTATION, 1)
        image.load()  # turns a TIFF upright
        if image.mode == "F" or image.mode.startswith("I"):
            return _deep(image).picture(bands, white)
        picture = _eight_bit(image, bands, "its values of more than 8 bits were reduced" * _is_deep_ppm(arguments))
        return replace(picture, source=replace(picture.source, orientation=stored)) if stored > 1 else picture


def is_deep(file: BinaryIO) -> bool:
    """Whether Pillow reads a PNM file with more than 8 bits."""
    with Image.open(file, formats=("PPM",)) as image:
        return image.mode == "F" or image.mode.startswith("I")


def from_pillow(image: Image.Image) -> Tensor:
    """A Pillow image of mode L or RGB as C x H x W uint8."""
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)


def _is_deep_ppm(arguments: str) -> bool:
    return "ppm" in arguments and "65535" in arguments


def _deep_png(image: ImageFile, file: BinaryIO) -> Layers:
    """Of 16 bits in colour, or with transparency."""
    import imagecodecs

    file.seek(0)
    data = file.read()
    values = imagecodecs.png_decode(data)
    bands = values.shape[2]
    # Looking for EXIF data makes Pillow decode the image too.
    described = any(word in data for word in (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp"))
    return _layers(image, values, 16, None if bands == 3 else bands - 1, described=described)


def _deep(image: ImageFile) -> Layers:
    """Grey of 16 bits, or of floating-point values."""
    values = np.asarray(image)[..., None]
    if image.mode == "F":
        return _layers(image, values.astype(np.float32), 32)
    values = values.astype(np.uint16)  # PGM has been scaled to 16 bits
    if isinstance(clear := image.info.get("transparency"), int):
        opaque = np.where(values == clear, 0, 0xFFFF).astype(np.uint16)
        return _layers(image, np.concatenate([values, opaque], axis=2), 16, 1)
    return _layers(image, values, 16)


def _layers(
    image: ImageFile, values: np.ndarray, bits: int, alpha: int | None = None, *, described: bool = True
) -> Layers:
    orientation, doubt = _orientation(image) if described else (1, "")
    animated = getattr(image, "is_animated", False)
    return Layers(
        values,
        bits,
        alpha,
        orientation=orientation,
        profile=image.info.get("icc_profile") or b"",
        as_is=image.format == "PNG" and not animated,
        note="; ".join(filter(None, (f"first of {_frames(image)} frames taken" * animated, doubt))),
    )


def _eight_bit(image: ImageFile, bands: Sequence[int] | None, note: str) -> Picture:
    orientation, doubt = _orientation(image)
    turn = _TURNS.get(orientation)
    jpeg = image.format in ("JPEG", "MPO")  # MPO: a JPEG followed by a preview or a depth map
    animated = getattr(image, "is_animated", False) and not jpeg
    plain = image.mode in ("L", "RGB") and "transparency" not in image.info
    turned = image if turn is None else image.transpose(turn)
    count = len(image.getbands()) + ("transparency" in image.info)
    clear = image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info
    grey = image.mode in ("1", "L", "LA")
    name = profile_note = ""
    if profile := image.info.get("icc_profile"):
        turned, name, profile_note = image_to_srgb(_plain(turned, grey, clear), profile)
    if bands is not None:
        chosen = _plain(turned, grey, clear)
        values = np.array(chosen.convert("RGB") if chosen.mode == "CMYK" else chosen)
        pixels = torch.from_numpy(np.ascontiguousarray(taken(values.reshape(*values.shape[:2], -1), bands)))
        pixels = pixels.permute(2, 0, 1)
        clear = False
    else:
        pixels = _over_white(turned, grey)
    as_is = plain and (jpeg or image.format == "PNG") and turn is None and not (animated or name)
    notes = [f"first of {_frames(image)} frames taken"] * animated + [doubt, profile_note, note]
    source = Source(8, count, "over white" if clear else "", name, orientation if turn is not None else 1)
    as_is = as_is and bands in (None, *in_order(count))
    return Picture(pixels, "jpg" if jpeg else "png", as_is, "; ".join(filter(None, notes)), source)


def _plain(image: Image.Image, grey: bool, clear: bool) -> Image.Image:
    """Of mode L, LA, RGB, RGBA or CMYK."""
    mode = ("LA" if clear else "L") if grey else "RGBA" if clear else "CMYK" if image.mode == "CMYK" else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _over_white(image: Image.Image, grey: bool) -> Tensor:
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if grey else "RGB"
    return from_pillow(image if image.mode == mode else image.convert(mode))


def _frames(image: Image.Image) -> str:
    # Pillow looks for loops in a TIFF's chain of pages at each page, so that counting them could take too long.
    return "several" if image.format == "TIFF" else str(getattr(image, "n_frames", "several"))


def _orientation(image: ImageFile) -> tuple[int, str]:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
        return (found if found in _TURNS else 1), ""
    except Exception as error:  # any error: EXIF data is often broken
        return 1, f"its EXIF data cannot be read ({error}), so it was not turned"
