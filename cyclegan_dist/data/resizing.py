"""Sizes that images are stored with, and resizing to them: photos, values of more than 8 bits, label maps."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cyclegan_dist.data.arrays import PICTURES
from cyclegan_dist.data.images import from_pillow
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.data.picture import UnreadableImageError


def stored_size(image: Tensor, side: int | None, *, square: bool) -> tuple[int, int]:
    """Height and width: those of the C x H x W image if `side` is None; `side` both if `square`; else the shorter is
    reduced to `side`.
    """
    height, width = image.shape[1:]
    if side is None or (min(height, width) <= side and not square):
        return height, width
    if square:
        return side, side
    scale = side / min(height, width)
    return max(side, round(height * scale)), max(side, round(width * scale))


def resized(image: Tensor, size: tuple[int, int], by: Image.Resampling = Image.Resampling.BICUBIC) -> Tensor:
    """C x H x W uint8 as C x `size`, by one of Pillow's filters."""
    channels = [Image.fromarray(c.numpy()).resize((size[1], size[0]), by) for c in image]
    return torch.cat([from_pillow(channel) for channel in channels])


def resized_values(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The same for values of more than 8 bits, by the same filter."""
    small = F.interpolate(image[None].double(), size, mode="bicubic", antialias=True)[0].numpy()
    kind = np.dtype(str(image.dtype).removeprefix("torch."))
    if kind.kind in "ui":
        small = np.rint(small).clip(np.iinfo(kind).min, np.iinfo(kind).max)
    return torch.from_numpy(small.astype(kind))


def label_map(image: Tensor, size: tuple[int, int], palette: Palette, source: str) -> Tensor:
    """A label map with the palette's exact colours, 3 x `size` uint8, by nearest neighbour, as Pillow's.

    Args:
        image: C x H x W uint8.
        size: height and width.
        palette: of the map.
        source: names it in the message.

    Raises:
        UnreadableImageError: if it has more channels than three.
        UsageError: if its colours are not the palette's.
    """
    if len(image) not in PICTURES:
        raise UnreadableImageError(f"a label map must have one or three channels, not {len(image)}")
    image = F.interpolate(image[None], size, mode="nearest-exact")
    palette.refuse_other_colours(image, source)
    return palette.snapped(image[0])
