"""The image files of both domains as they lie on this machine, after archives and Parquet files are unpacked."""

import contextlib
import os
import secrets
import shutil
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cyclegan_dist.data.files import list_files, list_images, printable
from cyclegan_dist.data.location import is_data_set, scratch
from cyclegan_dist.data.parquet_images import unpack_parquet
from cyclegan_dist.data.plan import DOMAINS
from cyclegan_dist.data.prepare_config import NOTHING, PrepareConfig, is_nothing
from cyclegan_dist.data.published import Report, fetched
from cyclegan_dist.data.sources import PARQUET, Place, find_places
from cyclegan_dist.data.unpacking import Unpacked, unpack_archive
from cyclegan_dist.errors import UsageError


@dataclass(frozen=True)
class DomainFiles:
    """The image files of a domain.

    Attributes:
        given: what the user named.
        folder: that holds the files.
        names: sorted paths of the images, relative to it.
        unreadable: the reason for each of them that could not be unpacked.
        skipped: how many other files there are, by their ending.
        places: what the user calls the first folder of a name, where several places were named.
    """

    given: str
    folder: Path
    names: list[str]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    places: Mapping[str, str] = field(default_factory=dict)

    def shown(self, name: str) -> str:
        """Where the user finds a file, on one line."""
        first, _, rest = name.partition("/")
        return printable(f"{self.places[first]}/{rest}" if first in self.places else f"{self.given}/{name}")


@contextlib.contextmanager
def domain_files(config: PrepareConfig, report: Report) -> Iterator[dict[str, DomainFiles]]:
    """The files of both domains, and of each folder that is excluded, by `excluded(FOLDER)`. Published data sets are
    downloaded. Archives and Parquet files are unpacked for the duration of the block into a hidden folder beside the
    data set, whose file system has room for the images, or in TMPDIR if it is at a URL.

    Raises:
        UsageError: as `find_places`, `fetched`, `unpack_archive` and `unpack_parquet`, if a place has no images, or
            there is no room.
    """
    drafts = _own_drafts(scratch(config.out, ".unpacked"))
    found: dict[tuple[Path, str], DomainFiles] = {}  # both domains of double images are in one place
    try:
        sources = {"A": (config.a_dir, config.column_of("A")), "B": (config.b_dir, config.column_of("B"))}
        for domain, (given, column) in sources.items():
            if (given, column) not in found:
                found[given, column] = _files(config, given, column, drafts / domain, report)
        others = {
            excluded(given): _files(config, Path(given), config.column, drafts / f"excluded-{number}", report)
            for number, given in enumerate(config.excluded)
            if not is_data_set(given)
        }
        yield {**{domain: found[sources[domain]] for domain in DOMAINS}, **others}
    except UsageError as error:
        text = str(error)
        for files in found.values():
            text = text.replace(str(files.folder), files.given)  # no path that will be gone
        raise UsageError(text) from error
    finally:
        shutil.rmtree(drafts, ignore_errors=True)
        with contextlib.suppress(OSError):  # there is none, or another process has its own in it
            drafts.parent.rmdir()


def _own_drafts(folder: Path) -> Path:
    """A folder of this process in `folder`, not yet created: two that prepare one data set must not mix their images.
    Those that interrupted processes of this machine have left there are removed.
    """
    host = f"{socket.gethostname()}-"
    for left in folder.glob(f"{host}*"):
        pid = left.name.removeprefix(host).partition("-")[0]
        if pid.isdecimal() and not _is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return folder / f"{host}{os.getpid()}-{secrets.token_hex(4)}"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        pass
    return True


def excluded(folder: str) -> str:
    """The key of a folder whose images are excluded."""
    return f"excluded {folder}"


def _files(config: PrepareConfig, given: Path, column: str, draft: Path, report: Report) -> DomainFiles:
    if config.append and is_nothing(given):
        return DomainFiles(NOTHING, draft, [])
    places = [fetched(place, report) for place in find_places(given)]
    if len(places) == 1 and (parts := _listed(places[0])) is not None:
        return DomainFiles(str(given), places[0].path, parts.names, skipped=parts.skipped)
    several = _prefixes(places, by_number=config.pairs != "none") if len(places) > 1 else {"": places[0]}
    names, unreadable, skipped = list[str](), dict[str, str](), Counter[str]()
    for prefix, place in several.items():
        target = draft / prefix
        try:
            target.mkdir(parents=True)
            parts = _unpacked(config, place, column, target)
        except OSError as error:
            raise UsageError(
                f"cannot unpack {place} in {draft.parent.parent.parent}: {error.strerror or error}; free space, or "
                "choose another folder"
            ) from error
        names += [f"{prefix}/{name}" if prefix else name for name in parts.names]
        unreadable |= {f"{prefix}/{name}" if prefix else name: why for name, why in parts.unreadable.items()}
        skipped += parts.skipped
    shown = {prefix: str(place) for prefix, place in several.items()} if len(places) > 1 else {}
    return DomainFiles(str(given), draft, sorted(names), unreadable, skipped, shown)


def _unpacked(config: PrepareConfig, place: Place, column: str, target: Path) -> Unpacked:
    """The files of a place in the folder `target`; links to those of a folder."""
    if place.is_archive:
        parts = unpack_archive(place, target, config.max_pixels)
    elif place.path.is_file():
        parts = unpack_parquet([("", place.path)], column, target, config.max_pixels, by_row=config.pairs != "none")
    elif (parts := _listed(place)) is not None:
        for name in parts.names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).symlink_to((place.path / name).absolute())
    else:
        tables = [path for path in list_files(place.path) if path.suffix.lower() == PARQUET]
        files = [(path.with_suffix("").as_posix(), place.path / path) for path in sorted(tables)]
        parts = unpack_parquet(files, column, target, config.max_pixels, by_row=config.pairs != "none")
    if not parts.names:
        raise _no_images(place)
    return parts


def _listed(place: Place) -> Unpacked | None:
    """The images that lie in a folder; None if what it has instead are Parquet files, or it is none.

    Raises:
        UsageError: if it has neither, or cannot be searched.
    """
    if not place.path.is_dir():
        return None
    names = list_images(place.path)
    others = Counter(path.suffix.lower() or "no ending" for path in list_files(place.path))
    if not names and others[PARQUET]:
        return None
    if not names:
        raise _no_images(place)
    return Unpacked(names, skipped=others - Counter(Path(name).suffix.lower() or "no ending" for name in names))


def _no_images(place: Place) -> UsageError:
    return UsageError(
        f"{place} holds no images: give a folder with JPEG, PNG, WebP, BMP, TIFF, GIF, PNM or .npy files, an archive "
        "of them, or Parquet files"
    )


def _prefixes(places: list[Place], *, by_number: bool) -> dict[str, Place]:
    """The folder that the names of each of several places get: its name, or its number, so that files of the first
    place of A can be the partners of those of the first of B.
    """
    found: dict[str, Place] = {}
    for number, place in enumerate(places, 1):
        name = (place.inside or place.path.absolute().name).rpartition("/")[2].lstrip(".")
        free = name if name and name not in found else f"{name}-{number}"
        found[str(number) if by_number else free] = place
    return found
