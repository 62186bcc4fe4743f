"""Which images are held out for validation when a data set is prepared: partners together, copies of an image too."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from cyclegan_dist.data.encode import Reading, read_half
from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.errors import UsageError

FEWEST = 4  # images of a domain, of which distances can be measured
Image = tuple[str, str]
"""Domain, and name of the file."""


def content_hash(folder: Path, reading: Reading, name: str) -> bytes | None:
    """sha256 of a file's pixels, so that copies in other formats are found too; None if it cannot be read."""
    try:
        white = None if reading.values is None else reading.values.white
        pixels = read_half(folder / name, reading, white)[1]
    except (UnreadableImageError, OSError):
        return None
    return hashlib.sha256(f"{pixels.dtype} {tuple(pixels.shape)} ".encode() + pixels.numpy().tobytes()).digest()


def held_out(
    hashes: Mapping[str, Mapping[str, bytes | None]], partners: Mapping[Image, str], validation: float, seed: int
) -> dict[str, set[str]]:
    """The names that are held out of each domain, the same for the same images, whatever their order.

    Args:
        hashes: of each domain's files, by name: as `content_hash`.
        partners: a name of the pair that an image is of, for each that has one.
        validation: share of each domain, below 1, or number of its images.
        seed: another one holds out others.

    Raises:
        UsageError: if that would be too few to measure with, or leave none to train on.
    """
    wanted = {d: round(validation * len(names)) if validation < 1 else round(validation) for d, names in hashes.items()}
    taken: dict[str, set[str]] = {domain: set() for domain in hashes}
    for _, group in sorted((_order(group, hashes, seed), group) for group in _groups(hashes, partners)):
        mine = {domain: {name for one, name in group if one == domain} for domain in hashes}
        if all(len(taken[domain]) + len(mine[domain]) <= wanted[domain] for domain in hashes):
            for domain, names in mine.items():
                taken[domain] |= names
    for domain, names in taken.items():
        readable = sum(found is not None for found in hashes[domain].values())
        if len(names) < FEWEST or len(names) == readable:
            raise UsageError(
                f"--validation {validation:g} holds out {len(names)} of {readable} images of domain {domain}: "
                f"distances need {FEWEST}, and training needs the others"
            )
    return taken


def _groups(hashes: Mapping[str, Mapping[str, bytes | None]], partners: Mapping[Image, str]) -> Iterable[list[Image]]:
    """Images that must lie in one part: partners, and copies, also in the other domain."""
    images = [(domain, name) for domain, names in hashes.items() for name, found in names.items() if found is not None]
    parent: dict[Image, Image] = {image: image for image in images}

    def root(image: Image) -> Image:
        while parent[image] != image:
            parent[image] = image = parent[parent[image]]
        return image

    first: dict[bytes | str, Image] = {}
    for image in images:
        found = hashes[image[0]][image[1]]
        for mark in filter(None, (found, partners.get(image))):
            parent[root(image)] = root(first.setdefault(mark, image))
    groups: dict[Image, list[Image]] = defaultdict(list)
    for image in images:
        groups[root(image)].append(image)
    return groups.values()


def _order(group: list[Image], hashes: Mapping[str, Mapping[str, bytes | None]], seed: int) -> bytes:
    """A random number that depends on the contents and the seed alone."""
    contents = sorted(found for domain, name in group if (found := hashes[domain][name]) is not None)
    return hashlib.sha256(b"".join([str(seed).encode(), *contents])).digest()
