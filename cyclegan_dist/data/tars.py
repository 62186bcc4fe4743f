"""WebDataset tars of images: the same images give the same bytes."""

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from cyclegan_dist.data.encode import EncodedImage
from cyclegan_dist.data.shard_record import ROWS, BadFile, ShardRecord
from cyclegan_dist.storage.files import atomic


def write_shard(
    path: Path, shard: str, images: Iterator[EncodedImage | BadFile], samples: int, first_key: int, position: int = 0
) -> ShardRecord | None:
    """Write the next images as one tar. Returns its record, or None, and no tar, if there are none left.

    Args:
        path: of the tar, which must not exist.
        shard: its path relative to the manifest.
        images: of its domain.
        samples: how many it holds at most.
        first_key: number of the first sample.
        position: number of the domain's files before, also unreadable ones.
    """
    rows, bad, clipped = list[dict[str, Any]](), list[BadFile](), 0.0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        hashed: Any = _Hashed(file)
        with _samples(hashed) as write:
            for image in images:
                position += 1
                if isinstance(image, BadFile):
                    bad.append(image)
                    continue
                key = f"{first_key + len(rows):09d}"
                rows.append(
                    {
                        "domain": shard.partition("/")[0],
                        "key": key,
                        "name": image.name,
                        "shard": shard,
                        "offset": write(key, image),
                        "size": len(image.data),
                        "width": image.width,
                        "height": image.height,
                        "mode": image.mode,
                        "sha256": hashlib.sha256(image.data).digest(),
                        **({} if image.source is None else vars(image.source)),
                    }
                )
                clipped += image.width * image.height * image.clipped
                if len(rows) == samples:
                    break
    if not rows:
        path.unlink()
        return None
    facts = {"sha256": hashed.sha256.hexdigest(), "bytes": hashed.size, "samples": len(rows)}
    return ShardRecord(shard, facts, pa.Table.from_pylist(rows, schema=ROWS), position, bad, clipped)


class _Hashed:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.sha256, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self._file.write(data)


@contextlib.contextmanager
def _samples(file: BinaryIO) -> Iterator[Callable[[str, EncodedImage], int]]:
    """Give a function that appends a key and its image to the tar `file`, and returns the offset of the image's first
    byte; the bytes are those of webdataset's own writer with a time of 0.
    """
    with tarfile.open(fileobj=file, mode="w|") as tar:

        def write(key: str, image: EncodedImage) -> int:
            member = tarfile.TarInfo(f"{key}.{image.extension}")
            member.size, member.mode = len(image.data), 0o444
            member.uname = member.gname = "bigdata"
            tar.addfile(member, io.BytesIO(image.data))
            blocks = -(-member.size // tarfile.BLOCKSIZE)
            return tar.offset - blocks * tarfile.BLOCKSIZE  # pyright: ignore[reportAttributeAccessIssue]

        yield write


def write_tar(path: Path, samples: Iterable[tuple[str, EncodedImage]]) -> int:
    """Write keys and their images as one WebDataset tar, atomically. Returns their number.

    Raises:
        OSError: if it cannot be written.
    """
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as draft, draft.open("xb") as file, _samples(file) as write:
        for key, image in samples:
            write(key, image)
            count += 1
    return count
