"""Unpacking of the images in archives and Parquet files.

Both are untrusted: no name leads out of the target, links are not followed, a file is unpacked up to the size that is
read, and an archive up to a multiple of its own.
"""

import gzip
import os
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from cyclegan_dist.data.files import EXTENSIONS, list_images, printable
from cyclegan_dist.data.reading import largest_file
from cyclegan_dist.data.sources import Place
from cyclegan_dist.errors import UsageError

PIECE = 1 << 20  # bytes copied at once
HEADER = 512  # bytes that a member without content counts for
UNPACKED = 1 << 30  # bytes that any archive may unpack to
GROWTH = 100  # times its size that a larger one may; images are compressed already
MOST_AT_ONCE = 16 << 20  # bytes of a tar's header: a name of that length is none


@dataclass
class Unpacked:
    """What was unpacked.

    Attributes:
        names: of the images, relative to the target.
        unreadable: the reason for each of them that could not be unpacked.
        skipped: how many members are not images, by their ending.
    """

    names: list[str]
    unreadable: dict[str, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Member:
    """A file in an archive: its name, and either how to open it, the name that it is a hard link to, or why it cannot
    be read.
    """

    name: str
    open: Callable[[], IO[bytes]] | None = None
    link: str = ""
    reason: str = ""


def unpack_archive(place: Place, target: Path, max_pixels: int) -> Unpacked:
    """Unpack the images of an archive, or of a folder in it, under their names.

    Args:
        place: the archive.
        target: empty folder.
        max_pixels: of the largest image, which limits a file's size.

    Raises:
        UsageError: if it is damaged, unpacks to too much, has a name that leads out of it, or not the folder.
        OSError: if `target` cannot be written.
    """
    unreadable: dict[str, str] = {}
    endings: Counter[str] = Counter()
    left = allowance(place.path)
    inside, found = f"{place.inside}/" if place.inside else "", False
    for member in _members(place.path):
        left -= HEADER
        name = _safe(member.name, place.path)
        if not name.startswith(inside):
            continue
        found, name = True, name.removeprefix(inside)
        path = PurePosixPath(name)
        if any(part.startswith(".") for part in path.parts):
            continue
        endings[path.suffix.lower() or "no ending"] += 1
        if path.suffix and path.suffix.lower() not in EXTENSIONS:
            continue
        reason, size = _unpack(member, target, name, inside, min(largest_file(max_pixels), max(left, 0)), place.path)
        left -= size
        refuse_growth(place.path, left)
        if reason and path.suffix:
            unreadable[name] = reason
        elif not reason:
            unreadable.pop(name, None)  # of an earlier member of that name
    if inside and not found:
        raise UsageError(f"{place.path} has no folder {printable(place.inside)}: give one that it has")
    names = sorted({*list_images(target), *unreadable})
    return Unpacked(names, unreadable, endings - Counter(Path(n).suffix.lower() or "no ending" for n in names))


def allowance(path: Path) -> int:
    """Bytes that an archive or a Parquet file may unpack to."""
    return max(UNPACKED, GROWTH * path.stat().st_size)


def refuse_growth(path: Path, left: int) -> None:
    """Refuse an archive or a Parquet file when less than nothing is left of its allowance.

    Raises:
        UsageError: then.
    """
    if left < 0:
        raise UsageError(
            f"{path} unpacks to more than {GROWTH} times its size: if that is right, unpack it yourself and give the "
            "folder"
        )


def _unpack(member: _Member, target: Path, name: str, inside: str, most: int, archive: Path) -> tuple[str, int]:
    """Write a member. Returns why it cannot be read, if it cannot, and the bytes that were unpacked."""
    if member.reason:
        return member.reason, 0
    path = target / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if member.open is None:
            first = _safe(member.link, archive)
            shutil.copyfile(target / first.removeprefix(inside), path)
            return "", path.stat().st_size
        path.touch()
        if path.is_dir():  # which touch() accepts
            raise IsADirectoryError
    except (FileExistsError, IsADirectoryError, NotADirectoryError, FileNotFoundError):
        return "its name is also a folder's, or it is a link to a file that was not unpacked", 0
    except OSError as error:
        if len(os.fsencode(name)) < 255:  # the name is not the reason
            raise
        return f"its name cannot be written: {error.strerror}", 0
    size = 0
    try:
        source = member.open()
    except Exception as error:  # encryption, an unknown compression, a damaged header
        return _reason(error), 0
    with source, path.open("wb") as file:
        while True:
            try:
                piece = source.read(PIECE)
            except Exception as error:  # damaged archives make decoders raise nearly anything
                reason = _reason(error)
                break
            if not piece:
                return "", size
            size += len(piece)
            if size > most:
                reason = f"more than the {most:,} bytes we read: raise --max-megapixels"
                break
            file.write(piece)
    path.unlink()
    return reason, size


def _reason(error: Exception) -> str:
    return f"it cannot be unpacked ({' '.join(str(error).split()) or type(error).__name__})"


def _safe(name: str, archive: Path) -> str:
    """A member's name as a path without `.`.

    Raises:
        UsageError: if it leads out of the archive.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise UsageError(f"{archive} has a file {printable(name)}, whose name leads out of it: unpack it yourself")
    return "/".join(parts)


def _members(archive: Path) -> Iterator[_Member]:
    """The files in an archive.

    Raises:
        UsageError: if it is damaged.
    """
    is_zip = archive.name.lower().endswith(".zip")
    with archive.open("rb") as file:
        members = _zip_members(file) if is_zip else _tar_members(file)
        while True:
            try:
                member = next(members)
            except StopIteration:
                return
            except Exception as error:  # any error: also of zlib, and of what tarfile reads as numbers
                raise UsageError(
                    f"{archive} is damaged, or no archive of its ending ({_reason(error)}): get it again"
                ) from error
            yield member


def _zip_members(file: BinaryIO) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield _Member(info.filename, lambda info=info: archive.open(info))


def _tar_members(file: BinaryIO) -> Iterator[_Member]:
    zipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    with gzip.open(file) if zipped else file as content:
        bounded: Any = _Bounded(content)
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            while (info := archive.next()) is not None:
                if info.isreg():
                    yield _Member(info.name, partial(_open_member, archive, info))
                elif info.islnk():
                    yield _Member(info.name, link=info.linkname)
                elif not info.isdir():
                    yield _Member(info.name, reason="a link or a device, no file")
                archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  # which would keep all of them
            content.seek(archive.offset)
            if content.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a damaged header for the end
                raise tarfile.ReadError("a damaged header")


def _open_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    found = archive.extractfile(info)
    assert found is not None  # it is for folders and devices
    return found


class _Bounded:
    """A file that does not read as much at once as the header of a bomb asks for."""

    def __init__(self, file: BinaryIO | gzip.GzipFile):
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MOST_AT_ONCE:
            raise ValueError(f"a header of {size:,} bytes")
        return self._file.read(size)
