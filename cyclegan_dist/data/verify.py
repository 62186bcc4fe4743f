"""Is a data set still what its manifest promises: every byte of every shard."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import fsspec

from cyclegan_dist.data.images import UnreadableImageError, read_image
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.reader import BadSampleError, DataError, ShardReader
from cyclegan_dist.errors import storage_errors

PIECE = 1 << 20  # bytes read at once
SHOWN = 10  # damaged samples of a shard that are named


def samples_by_shard(manifest: Manifest) -> dict[str, tuple[str, list[int]]]:
    """For each shard its domain, and the indices of its samples in the domain's rows."""
    found: dict[str, tuple[str, list[int]]] = {}
    for domain, rows in manifest.domains.items():
        for index, shard in enumerate(rows["shard"].to_pylist()):
            found.setdefault(shard, (domain, []))[1].append(index)
    return found


def check_shard(
    manifest: Manifest, shard: str, domain: str, samples: Iterable[int], *, decoding: bool = False
) -> list[str]:
    """What is wrong with one shard, a line for each problem; none if every byte is as promised.

    Args:
        manifest: of the data set.
        shard: its name in the manifest.
        domain: of its samples.
        samples: their indices in the domain's rows.
        decoding: whether every image is decoded as well.
    """
    url, promised = f"{manifest.root}/{shard}", manifest.shards[shard]
    try:
        size, sha256 = _hash(url)
    except OSError as error:
        return [f"{url}: cannot be read ({error})"]
    intact = sha256 == promised["sha256"]
    if intact and not decoding:
        return []
    reader, hurt = ShardReader(manifest, domain), []  # a reader each: they are not shared between threads
    for index in samples:
        try:
            data = reader.read(index)
            if decoding:
                read_image(data)
        except (BadSampleError, DataError, UnreadableImageError):
            hurt.append(reader.key(index))
    if intact and not hurt:
        return []
    if size != promised["bytes"]:
        how = "cut" if size < promised["bytes"] else "grown"
        return [f"{url}: {how}, {size} bytes instead of {promised['bytes']}"]
    which = ", ".join(hurt[:SHOWN]) + f" and {len(hurt) - SHOWN} more" * (len(hurt) > SHOWN)
    return [f"{url}: {'as' if intact else 'other bytes than'} promised; damaged samples: {which or 'none'}"]


def _hash(url: str) -> tuple[int, str]:
    """Length in bytes, and sha256."""
    sha256, size = hashlib.sha256(), 0
    with storage_errors(), fsspec.open(url, "rb") as file:
        while piece := file.read(PIECE):  # pyright: ignore[reportAttributeAccessIssue]
            sha256.update(piece)
            size += len(piece)
    return size, sha256.hexdigest()


def identical(manifests: Iterable[Manifest]) -> Iterator[list[str]]:
    """The names of images that come more than once: in a domain, in both, or in several data sets.

    The manifests must have been opened with the columns `sha256` and `name`.
    """
    places: dict[bytes, list[str]] = defaultdict(list)
    for manifest in manifests:
        for domain, rows in manifest.domains.items():
            for sha256, name in zip(rows["sha256"].to_pylist(), rows["name"].to_pylist(), strict=True):
                places[sha256].append(f"{manifest.root} {domain}/{name}")
    return (names for names in places.values() if len(names) > 1)
