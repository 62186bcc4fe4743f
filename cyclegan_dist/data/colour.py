"""Conversion of images with an embedded colour profile to sRGB, by littlecms.

Relative colorimetric, with black point compensation, which is how photo programs convert by default.
"""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # Pillow's, by the profile's colour space
TOLERANCE = 2  # levels of 255: a profile that changes no colour by more is one of the many versions of sRGB


@dataclass(frozen=True)
class _Profile:
    """A usable profile: its name, the mode of Pillow images that it is for, and whether it is sRGB."""

    name: str
    mode: str
    is_srgb: bool
    transform: ImageCms.ImageCmsTransform


def image_to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, str, str]:
    """An 8-bit Pillow image in sRGB.

    Args:
        image: of mode L, LA, RGB, RGBA or CMYK; others are returned as they are.
        profile: embedded in its file, or empty.

    Returns:
        The image, of mode L, LA, RGB or RGBA; the name of the profile it was converted from, empty if it was not; and
        what is wrong with the profile, or empty.
    """
    if not profile:
        return image, "", ""
    found = _opened(profile)
    if isinstance(found, str):
        return image, "", found
    mode = image.mode.removesuffix("A")
    if found.is_srgb and mode == found.mode:
        return image, "", ""
    if mode != found.mode:
        return image, "", f"its colour profile is for {found.mode}, not {mode}, and was ignored"
    alpha = image.getchannel("A") if image.mode.endswith("A") else None
    try:
        converted = ImageCms.applyTransform(image if alpha is None else image.convert(mode), found.transform)
    except ImageCms.PyCMSError as error:
        return image, "", f"its colour profile could not be applied ({error})"
    assert converted is not None
    if mode == "L":
        converted = converted.getchannel("G")  # of a grey: all three are equal
    if alpha is not None:
        converted.putalpha(alpha)
    return converted, found.name, ""


def array_to_srgb(values: np.ndarray, profile: bytes, bits: int, alpha: int | None) -> tuple[np.ndarray, str, str]:
    """As `image_to_srgb`, for H x W x C values of a file with `bits` bits, whose band `alpha` is transparency. Grey and
    colour of 8 bits and colour of 16 are converted; other bands than the first one or three stay as they are.
    """
    if not profile:
        return values, "", ""
    found = _opened(profile)
    if isinstance(found, str):
        return values, "", found
    if found.is_srgb:
        return values, "", ""
    colours = 1 if found.mode == "L" else 3
    bands = values.shape[2] - (alpha is not None)
    if found.mode == "CMYK" or bands < colours or (colours == 1 and bands > 1):
        return values, "", f"its colour profile {found.name} does not fit its bands and was ignored"
    part = np.ascontiguousarray(values[..., :colours])
    if values.dtype == np.uint8:
        image = Image.fromarray(part[..., 0] if colours == 1 else part)
        image, name, note = image_to_srgb(image, profile)
        part = np.array(image).reshape(part.shape)
    elif colours == 3 and values.dtype == np.uint16 and bits == 16:
        part, name, note = _deep_to_srgb(part, profile, found.name)
    else:
        return values, "", f"its colour profile {found.name} was not applied, because its values have {bits} bits"
    return np.concatenate([part, values[..., colours:]], axis=2), name, note


def _deep_to_srgb(values: np.ndarray, profile: bytes, name: str) -> tuple[np.ndarray, str, str]:
    """H x W x 3 uint16."""
    import imagecodecs

    try:
        converted = imagecodecs.cms_transform(
            values,
            profile,
            _srgb().tobytes(),
            colorspace="rgb",
            outcolorspace="rgb",
            intent=int(INTENT),
            flags=int(FLAGS),
        )
    except (RuntimeError, ValueError) as error:
        return values, "", f"its colour profile {name} could not be applied ({error})"
    return np.asarray(converted), name, ""


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=16)  # the images of a camera have the same profile
def _opened(profile: bytes) -> _Profile | str:
    """A profile, or what is wrong with it."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space: str = opened.profile.xcolor_space  # pyright: ignore[reportAttributeAccessIssue]
        if space not in MODES:
            return f"its colour profile is for {space.strip()}, and was ignored"
        name = " ".join(ImageCms.getProfileDescription(opened).split())[:80] or "a profile without a name"
        # For a grey curve littlecms's tables are too coarse in the dark.
        flags = FLAGS | ImageCms.Flags.NOOPTIMIZE if space == "GRAY" else FLAGS
        transform = ImageCms.buildTransform(opened, _srgb(), MODES[space], "RGB", INTENT, flags)
        return _Profile(name, MODES[space], MODES[space] != "CMYK" and _changes_nothing(transform, space), transform)
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return "its colour profile is damaged and was ignored"


def _changes_nothing(transform: ImageCms.ImageCmsTransform, space: str) -> bool:
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, len(levels), 3)
    image = Image.fromarray(colours if space == "RGB " else colours[..., 0])
    converted = ImageCms.applyTransform(image, transform)
    wanted = colours if space == "RGB " else colours[..., :1]
    return int(np.abs(np.asarray(converted).astype(int) - wanted).max()) <= TOLERANCE
