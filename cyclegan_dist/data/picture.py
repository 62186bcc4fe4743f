"""What is read from an image file: its pixels, and what the file was."""

from dataclasses import dataclass

from torch import Tensor


class UnreadableImageError(ValueError):
    """A file is not an image that can be used; the message says why."""


@dataclass(frozen=True)
class Source:
    """An image file before it was converted.

    Attributes:
        bits: of each value: 8, 12, 16, ...
        bands: how many it has, transparency included.
        alpha: what was done with its transparency: `over white`, or empty if it has none or was read as a band.
        profile: name of the colour profile that it was converted from to sRGB, or empty.
        orientation: of the EXIF or TIFF tag, 1 to 8; 1 is upright.
    """

    bits: int = 8
    bands: int = 1
    alpha: str = ""
    profile: str = ""
    orientation: int = 1


@dataclass(frozen=True)
class Picture:
    """The content of an image file.

    Attributes:
        pixels: C x H x W uint8, or of the file's own type if it has more than 8 bits; upright, sRGB, transparency over
            white.
        extension: of the file type to store it as: jpg, png or npy.
        as_is: whether the file itself is of that type and holds these pixels and nothing else.
        note: what of the file was discarded, or empty.
        source: what the file was.
    """

    pixels: Tensor
    extension: str
    as_is: bool
    note: str = ""
    source: Source = Source()
