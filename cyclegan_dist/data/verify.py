"""Verification of a data set: shards against the manifest, and identical images."""

# pyarrow.compute creates its functions at import.
# pyright: reportAttributeAccessIssue=false

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

import pyarrow.compute as pc

from cyclegan_dist.data.images import UnreadableImageError, read_image
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.reader import BadSampleError, DataError, ShardReader
from cyclegan_dist.errors import storage_errors
from cyclegan_dist.storage.urls import file_system_at

PIECE = 1 << 20  # bytes read at once
SHOWN = 10  # damaged samples of a shard that are named


def check_shards(manifest: Manifest, *, decoding: bool = False, workers: int = 4) -> Iterator[list[str]]:
    """Read all shards, several at once. Yields the problems of each, as `check_shard`, in any order."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        work = [
            pool.submit(check_shard, manifest, shard, *samples, decoding=decoding)
            for shard, samples in samples_by_shard(manifest).items()
        ]
        for future in as_completed(work):
            yield future.result()


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
    """The problems of one shard, a line each; none if every byte is as the manifest says.

    Args:
        manifest: of the data set.
        shard: its name in the manifest.
        domain: of its samples.
        samples: their indices in the domain's rows.
        decoding: whether every image is decoded as well.
    """
    url, recorded = manifest.place(shard), manifest.shards[shard]
    try:
        size, sha256 = _hash(url)
    except OSError as error:
        return [f"{url}: cannot be read ({error})"]
    intact = sha256 == recorded["sha256"]
    reader, damaged = ShardReader(manifest, domain), []  # a reader each: they are not shared between threads
    for index in samples:
        try:
            data = reader.read(index)
            if decoding:
                read_image(data)
        except (BadSampleError, DataError, UnreadableImageError):
            damaged.append(reader.key(index))
    if intact and not damaged:
        return []
    if size != recorded["bytes"]:
        how = "cut" if size < recorded["bytes"] else "grown"
        return [f"{url}: {how}, {size} bytes instead of {recorded['bytes']}"]
    which = ", ".join(damaged[:SHOWN]) + f" and {len(damaged) - SHOWN} more" * (len(damaged) > SHOWN)
    return [f"{url}: {'as' if intact else 'other bytes than'} recorded; damaged samples: {which or 'none'}"]


def _hash(url: str) -> tuple[int, str]:
    """Length in bytes, and sha256."""
    sha256, size = hashlib.sha256(), 0
    file_system, path = file_system_at(url)
    with storage_errors(), file_system.open(path, "rb") as file:
        while piece := file.read(PIECE):
            sha256.update(piece)
            size += len(piece)
    return size, sha256.hexdigest()


def copies(manifest: Manifest) -> int:
    """How many images of a data set are byte for byte copies of another one. It needs the column `sha256`."""
    return len(manifest.table) - pc.count_distinct(manifest.table["sha256"]).as_py()


def identical(manifests: Iterable[Manifest]) -> Iterator[list[str]]:
    """The names of images that occur more than once: in a domain, in both, or in several data sets.

    The manifests must have been opened with the columns `sha256` and `name`.
    """
    places: dict[bytes, list[str]] = defaultdict(list)
    for manifest in manifests:
        for domain, rows in manifest.domains.items():
            for sha256, name in zip(rows["sha256"].to_pylist(), rows["name"].to_pylist(), strict=True):
                places[sha256].append(f"{manifest.root} {domain}/{name}")
    return (names for names in places.values() if len(names) > 1)


def shared(manifest: Manifest, other: Manifest) -> list[tuple[str, list[str]]]:
    """The images of `other` that are in `manifest` too, byte for byte: the name of each, and its names there.

    Both must have been opened with the columns `sha256` and `name`.
    """
    ours, theirs = _names_by_sha256(manifest), _names_by_sha256(other)
    return [(name, ours[sha256]) for sha256, names in theirs.items() if sha256 in ours for name in names]


def in_both_domains(manifest: Manifest) -> int:
    """How many different images a data set has in both of its domains. It needs the column `sha256`."""
    a, b = (set(manifest.domains[domain]["sha256"].to_pylist()) for domain in "AB")
    return len(a & b)


def _names_by_sha256(manifest: Manifest) -> dict[bytes, list[str]]:
    names: dict[bytes, list[str]] = defaultdict(list)
    for domain, rows in manifest.domains.items():
        for sha256, name in zip(rows["sha256"].to_pylist(), rows["name"].to_pylist(), strict=True):
            names[sha256].append(f"{domain}/{name}")
    return names
