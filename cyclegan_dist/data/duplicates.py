"""Duplicates among images: the same pixels, or nearly the same, as copies of another size or JPEG quality have."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch.nn.functional import adaptive_avg_pool2d

from cyclegan_dist.data.encode import Reading, encode_file, read_half
from cyclegan_dist.data.images import to_unit_range, visible, with_channels
from cyclegan_dist.data.picture import UnreadableImageError

SIDE = 16  # of the thumbnails that are compared
NEAR = 2.5  # grey levels of 255, root mean square over a thumbnail; docs/data.md has what was measured
NEAR_OF_CONTRAST = 0.08  # and of its standard deviation, because all flat images are close to each other
BLOCK = 512  # images compared at once


@dataclass(frozen=True)
class Fingerprint:
    """What images are compared by.

    Attributes:
        name: of the file.
        sha256: of its pixels.
        pixels: width times height.
        thumbnail: 3 x SIDE x SIDE uint8, flat.
    """

    name: str
    sha256: bytes
    pixels: int
    thumbnail: np.ndarray


def fingerprint(folder: Path, reading: Reading, name: str) -> Fingerprint | None:
    """That of a file; None if it cannot be read, which encoding it reports."""
    return fingerprint_of(reading, folder / name, name)


def stored_fingerprint(folder: Path, reading: Reading, name: str) -> Fingerprint | None:
    """That of what a data set stores of a file, which is equal to that of a sample made from the same image."""
    try:
        encoded = encode_file(folder, name, reading)
    except (UnreadableImageError, OSError):
        return None
    return fingerprint_of(as_stored(reading), encoded.data, name)


def as_stored(reading: Reading) -> Reading:
    """How to read what was stored with a reading: halves and bands are taken already."""
    return replace(reading, half="", bands=None if reading.bands is None else ())


def fingerprint_of(reading: Reading, source: Path | bytes, name: str) -> Fingerprint | None:
    """That of a file or its content, which is called `name`; None if it cannot be read."""
    values = reading.values
    try:
        pixels = read_half(source, reading, None if values is None else values.white)[1]
        shown = visible(pixels if values is None else values.to_unit(pixels))
        small = adaptive_avg_pool2d(to_unit_range(with_channels(shown, 3), pixels.device)[None], SIDE)
    except (UnreadableImageError, OSError):
        return None
    content = f"{pixels.dtype} {tuple(pixels.shape)} ".encode() + pixels.numpy().tobytes()
    thumbnail = small.add_(1).mul_(127.5).round_().clamp_(0, 255).numpy().astype(np.uint8).reshape(-1)
    return Fingerprint(name, hashlib.sha256(content).digest(), pixels.shape[1] * pixels.shape[2], thumbnail)


@dataclass(frozen=True)
class Duplicate:
    """An image to drop.

    Attributes:
        name: of its file.
        of: the image that it is a copy of.
        exact: whether their pixels are the same.
    """

    name: str
    of: str
    exact: bool


def find_duplicates(images: Sequence[Fingerprint], others: Sequence[Fingerprint] | None = None) -> list[Duplicate]:
    """The images to drop: those that are copies of one of `others`, or, without these, of an image that is kept, which
    is the largest, or of those the first by name. The same images give the same result in any order.
    """
    order = sorted(images, key=lambda image: (-image.pixels, image.name))
    kept = list(others or ())
    first: dict[bytes, str] = {}
    for image in kept:
        first.setdefault(image.sha256, image.name)
    found: list[Duplicate] = []
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        near = _first_near(block, kept)
        among = _is_near(block, block)
        left: list[int] = []  # of the block's images
        for index, image in enumerate(block):
            copy_of = first.get(image.sha256)
            close = near[index] or next((block[other].name for other in left if among[index, other]), "")
            if copy_of is not None or close:
                found.append(Duplicate(image.name, close if copy_of is None else copy_of, copy_of is not None))
            elif others is None:
                left.append(index)
                first[image.sha256] = image.name
        kept += [block[index] for index in left]
    return sorted(found, key=lambda duplicate: duplicate.name)


def _first_near(block: Sequence[Fingerprint], kept: Sequence[Fingerprint]) -> list[str]:
    """For each image of `block` the name of the first one of `kept` that is nearly the same, or nothing."""
    found = [""] * len(block)
    for start in range(0, len(kept), BLOCK):
        some = kept[start : start + BLOCK]
        near = _is_near(block, some)
        for index in np.flatnonzero(near.any(1)):
            found[index] = found[index] or some[int(near[index].argmax())].name
    return found


def _is_near(one: Sequence[Fingerprint], two: Sequence[Fingerprint]) -> np.ndarray:
    """For each image of `one` and each of `two`, whether their thumbnails are nearly the same."""
    x, y = (np.stack([image.thumbnail for image in images]).astype(np.float32) - 127.5 for images in (one, two))
    distance = np.maximum((x**2).mean(1)[:, None] + (y**2).mean(1) - 2 * (x @ y.T) / x.shape[1], 0)
    contrast = np.minimum(x.var(1)[:, None], y.var(1))
    # The thumbnails are rounded: what differs by less is the same.
    return distance <= np.minimum(NEAR**2, np.maximum(NEAR_OF_CONTRAST**2 * contrast, 0.25))
