"""Files and folders that can be removed, and how they are."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import hidden, lock, sync
from cyclegan_dist.tracking.overview import bytes_in

REMOVED = "-removed"  # ends the hidden name under which a folder is removed


@dataclass(frozen=True)
class Removable:
    """A file or a folder that is not needed.

    Attributes:
        path: absolute.
        bytes: on disk.
        reason: why it is not needed.
    """

    path: Path
    bytes: int
    reason: str


@dataclass(frozen=True)
class Part:
    """Files and folders that the same locks protect.

    Attributes:
        name: for people.
        locks: files of the locks.
        find: what can be removed of it at this time.
        changes: files and folders that a process changes which uses it.
    """

    name: str
    locks: Sequence[Path]
    find: Callable[[], list[Removable]]
    changes: Sequence[Path] = ()

    def mark(self) -> list[tuple[int, int] | None]:
        """Differs when it was used in between."""
        return [_size_and_time(path) for path in self.changes]


@dataclass
class Pruning:
    """Removal of what several parts do not need.

    Attributes:
        notes: what is left alone, and why; each once.
        failed: number of parts of which something could not be removed.
    """

    notes: dict[str, None] = field(default_factory=dict[str, None])
    failed: int = 0

    def note(self, text: str) -> None:
        """Add to the notes."""
        self.notes[text] = None

    def listed(self, parts: Sequence[Part]) -> Iterator[Removable]:
        """All that can be removed; changes nothing."""
        for part in parts:
            yield from part.find()

    def removed(self, parts: Sequence[Part]) -> Iterator[Removable]:
        """Remove what `listed` lists: each as it is removed. A part that is in use, or changes while it is locked, is
        left as it is.
        """
        for part in parts:
            before, found = part.mark(), part.find()
            if not found:
                continue
            try:
                with ExitStack() as stack:
                    for path in part.locks:
                        stack.enter_context(lock(path, held=f"{part.name} is in use"))
                    if part.mark() != before:
                        raise UsageError(f"{part.name} has just changed")
                    for one in found:
                        remove(one.path)
                        yield one
            except UsageError as error:
                self.note(str(error))
            except OSError as error:
                self.failed += 1
                self.note(f"{error.filename or part.name} was not removed: {error.strerror or error}")


def _size_and_time(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.lstat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def at(path: Path, reason: str) -> Removable:
    """A file or folder with its size."""
    is_folder = path.is_dir() and not path.is_symlink()
    return Removable(path, bytes_in(path) if is_folder else path.lstat().st_size, reason)


def remove(path: Path) -> None:
    """Remove a file or a folder. A folder is renamed first, so that a killed process leaves no part of it under its
    name; what it leaves is a draft, which the next call finds. Links are not followed.

    Raises:
        OSError: if it cannot be removed.
    """
    if not path.is_dir() or path.is_symlink():
        path.unlink()
        return
    if not path.name.startswith("."):
        aside = hidden(path, ending=REMOVED)
        if aside.exists():  # of a process that was killed
            shutil.rmtree(aside)
        os.rename(path, aside)
        sync(path.parent)
        path = aside
    shutil.rmtree(path)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is in the resolved `folder` without a link on the way, and none itself."""
    return path.is_relative_to(folder) and path.resolve() == path
