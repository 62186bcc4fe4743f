"""Images whose values have been read as arrays: bands, transparency, colour and orientation, in the file's own type."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cyclegan_dist.data.arrays import PICTURES
from cyclegan_dist.data.colour import array_to_srgb
from cyclegan_dist.data.picture import Picture, Source, UnreadableImageError

TURNED = {2: (0, 0, 1), 3: (0, 1, 1), 4: (0, 1, 0), 5: (1, 0, 0), 6: (1, 0, 1), 7: (1, 1, 1), 8: (1, 1, 0)}
"""By orientation: whether rows and columns are swapped, then rows reversed, then columns reversed."""


@dataclass(frozen=True)
class Layers:
    """The values of an image file.

    Attributes:
        values: H x W x C, of the file's own type in the machine's byte order.
        bits: of each value that are used.
        alpha: index of the band that is transparency; None if there is none.
        premultiplied: whether the other bands have been multiplied by it.
        orientation: of the EXIF or TIFF tag, 1 to 8.
        profile: the embedded colour profile, or empty.
        as_is: whether it is a PNG that can be stored as it is, if nothing here has to be done.
        note: what was discarded, or empty.
    """

    values: np.ndarray
    bits: int
    alpha: int | None = None
    premultiplied: bool = False
    orientation: int = 1
    profile: bytes = b""
    as_is: bool = False
    note: str = ""

    @property
    def maximum(self) -> int:
        """The largest value of these bits."""
        return 2**self.bits - 1

    def picture(self, bands: Sequence[int] | None, white: float | None = None) -> Picture:
        """As a picture.

        Args:
            bands: to take, from 1 on, in this order; none: all. Transparency is a band among them. None: all but
                transparency, which is put over white.
            white: the value of white; None: the largest value of the file's bits.

        Raises:
            UnreadableImageError: if it lacks a band, or has transparency and values without a known white.
        """
        values, name, note = array_to_srgb(self.values, self.profile, self.bits, self.alpha)
        source = Source(self.bits, values.shape[2], "", name, self.orientation)
        if bands is not None:
            values = taken(values, bands)
        elif self.alpha is not None:
            values, source = self._over_white(values, white), replace(source, alpha="over white")
        # A copy in any case: torch takes no reversed arrays, not even of one pixel, and no read-only ones.
        values = np.array(upright(values, self.orientation).transpose(2, 0, 1), order="C")
        same = self.as_is and source == Source(self.bits, len(values)) and bands in (None, *in_order(len(values)))
        return Picture(
            torch.from_numpy(values),
            "png" if len(values) in PICTURES and values.dtype in (np.uint8, np.uint16) else "npy",
            as_is=same,
            note="; ".join(filter(None, (self.note, note))),
            source=source,
        )

    def _over_white(self, values: np.ndarray, white: float | None) -> np.ndarray:
        if values.dtype not in (np.uint8, np.uint16):
            raise UnreadableImageError(
                f"band {(self.alpha or 0) + 1} is transparency, and what is white among {values.dtype} values is not "
                "known: take the others with --bands"
            )
        opaque = values[..., self.alpha, None] / self.maximum
        colour = np.delete(values, self.alpha or 0, axis=2)
        level = self.maximum if white is None else white
        mixed = (colour if self.premultiplied else colour * opaque) + level * (1 - opaque)
        return np.rint(mixed).clip(0, self.maximum).astype(values.dtype)


def taken(values: np.ndarray, bands: Sequence[int]) -> np.ndarray:
    """Some bands of H x W x C values, from 1 on; all if none are named.

    Raises:
        UnreadableImageError: if there is no such band.
    """
    if bands and max(bands) > values.shape[2]:
        raise UnreadableImageError(f"--bands: it has {values.shape[2]} bands, not {max(bands)}")
    return values[..., [band - 1 for band in bands]] if bands else values


def in_order(count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The bands that take all of so many as they are: none named, or each."""
    return (), tuple(range(1, count + 1))


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """H x W x C values with the orientation of a tag as they are meant to be seen."""
    swapped, rows, columns = TURNED.get(orientation, (0, 0, 0))
    values = values.swapaxes(0, 1) if swapped else values
    return values[:: -1 if rows else 1, :: -1 if columns else 1]
