"""Storage of checkpoints: a folder, or an object store behind a URL.

Readers of both see complete checkpoints only. A folder is written under a hidden name and renamed. An object store has
no rename: there each attempt writes below its own name, and `manifest.json`, written last and atomically, names the
attempt whose files are the checkpoint.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import fsspec

from cyclegan_dist.errors import storage_errors
from cyclegan_dist.storage.files import sync

MANIFEST = "manifest.json"
Aside = Literal["damaged", "foreign"]  # begins the name of a checkpoint that is set aside
CHECKPOINT_NAME = re.compile(r"step-(\d{9,})$")


class Storage(Protocol):
    """Files by step and attempt. Every method may raise OSError."""

    def ready(self) -> None:
        """Raise OSError if it cannot be used."""
        ...

    def steps(self) -> list[int]:
        """The steps with a checkpoint, oldest first."""
        ...

    def create(self, step: int, attempt: str, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """A file to write; it is on durable storage when the block ends."""
        ...

    def commit(self, step: int, attempt: str, manifest: bytes, files: list[str]) -> None:
        """Make the files of `attempt` the checkpoint of `step`, and remove leftovers of attempts that died. Only one
        process may call it.

        Raises:
            OSError: also if one of `files` is missing.
        """
        ...

    def read(self, step: int, attempt: str, name: str) -> bytes:
        """A file of a committed checkpoint."""
        ...

    def manifest(self, step: int) -> bytes: ...

    def delete(self, step: int) -> None:
        """Remove a checkpoint; its manifest first."""
        ...

    def set_aside(self, step: int, why: Aside) -> None:
        """Rename a checkpoint, so that `steps` leaves it out and users can look at it; replaces an earlier one."""
        ...

    def discard(self, step: int, attempt: str) -> None:
        """Remove the files of `attempt`, which will not be committed."""
        ...


def storage_at(path: str) -> Storage:
    """The storage at a folder's path or an fsspec URL."""
    return ObjectStorage(path) if "://" in path else LocalStorage(Path(path))


class LocalStorage:
    """A folder shared by all ranks."""

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def _done(self, step: int) -> Path:
        return self.path / f"step-{step:09d}"

    def _draft(self, step: int, attempt: str) -> Path:
        return self.path / f".step-{step:09d}-{attempt}"

    def ready(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if not os.access(self.path, os.W_OK):
            raise PermissionError(f"{self.path} cannot be written")

    def steps(self) -> list[int]:
        try:
            names = [CHECKPOINT_NAME.match(name) for name in os.listdir(self.path)]
        except (FileNotFoundError, NotADirectoryError):  # nothing was saved; any other error hides what was
            return []
        return sorted(int(name[1]) for name in names if name)

    @contextmanager
    def create(self, step: int, attempt: str, name: str) -> Iterator[BinaryIO]:
        draft = self._draft(step, attempt)
        draft.mkdir(parents=True, exist_ok=True)
        with (draft / name).open("wb") as file:
            yield file
        sync(draft / name)

    def commit(self, step: int, attempt: str, manifest: bytes, files: list[str]) -> None:
        draft, done = self._draft(step, attempt), self._done(step)
        missing = [name for name in files if not (draft / name).exists()]
        if missing:
            raise OSError(f"{self.path} is not storage that all ranks share: {missing[0]} of another rank is missing")
        with self.create(step, attempt, MANIFEST) as file:
            file.write(manifest)
        sync(draft)
        if done.exists():  # of an earlier attempt; the run was resumed from an older checkpoint
            os.rename(done, draft.with_name(f"{draft.name}-old"))
        os.rename(draft, done)
        for left in self.path.glob(".step-*"):
            shutil.rmtree(left, ignore_errors=True)
        sync(self.path)

    def read(self, step: int, attempt: str, name: str) -> bytes:
        return (self._done(step) / name).read_bytes()

    def manifest(self, step: int) -> bytes:
        return (self._done(step) / MANIFEST).read_bytes()

    def delete(self, step: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._done(step) / MANIFEST).unlink()
        shutil.rmtree(self._done(step), ignore_errors=True)

    def set_aside(self, step: int, why: Aside) -> None:
        aside = self.path / f"{why}-{self._done(step).name}"
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(self._done(step), aside)

    def discard(self, step: int, attempt: str) -> None:
        shutil.rmtree(self._draft(step, attempt), ignore_errors=True)


class ObjectStorage:
    """An object store behind an fsspec URL."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:  # an unknown scheme, or one whose package is not installed
            raise OSError(str(error)) from error
        self._files.use_listings_cache = False

    def __str__(self) -> str:
        return self.url

    def _path(self, step: int, *parts: str) -> str:
        return "/".join((self._root, f"step-{step:09d}", *parts))

    def ready(self) -> None:
        self.steps()  # whether it can be written shows at the first write

    @storage_errors()
    def steps(self) -> list[int]:
        self._files.invalidate_cache()
        manifests = self._files.glob(f"{self._root}/step-*/{MANIFEST}")
        names = [CHECKPOINT_NAME.search(path.rpartition("/")[0]) for path in manifests]
        return sorted(int(name[1]) for name in names if name)

    @contextmanager
    def create(self, step: int, attempt: str, name: str) -> Iterator[BinaryIO]:
        with storage_errors():
            self._files.makedirs(self._path(step, attempt), exist_ok=True)  # no operation on object stores
            with self._files.open(self._path(step, attempt, name), "wb") as file:
                yield file  # pyright: ignore[reportReturnType]

    @storage_errors()
    def commit(self, step: int, attempt: str, manifest: bytes, files: list[str]) -> None:
        self._files.invalidate_cache()
        missing = [name for name in files if not self._files.exists(self._path(step, attempt, name))]
        if missing:
            raise OSError(f"{self.url} does not hold {missing[0]} that another rank wrote")
        self._files.pipe_file(self._path(step, MANIFEST), manifest)
        with contextlib.suppress(OSError):  # it is committed: what cannot be cleaned up now is at the next commit
            whole = {self._path(other) for other in self.steps() if other != step}
            for path in self._files.glob(f"{self._root}/step-*/*"):
                folder, _, last = path.rpartition("/")
                if folder not in whole and last not in (MANIFEST, attempt):
                    self._files.rm(path, recursive=True)

    @storage_errors()
    def read(self, step: int, attempt: str, name: str) -> bytes:
        return self._files.cat_file(self._path(step, attempt, name))

    @storage_errors()
    def manifest(self, step: int) -> bytes:
        return self._files.cat_file(self._path(step, MANIFEST))

    def delete(self, step: int) -> None:
        with contextlib.suppress(FileNotFoundError), storage_errors():
            self._files.rm_file(self._path(step, MANIFEST))
            self._files.rm(self._path(step), recursive=True)

    @storage_errors()
    def set_aside(self, step: int, why: Aside) -> None:
        aside = f"{self._root}/{why}-step-{step:09d}"
        with contextlib.suppress(FileNotFoundError):
            self._files.rm(aside, recursive=True)
        self._files.mv(self._path(step), aside, recursive=True)

    def discard(self, step: int, attempt: str) -> None:
        with contextlib.suppress(FileNotFoundError), storage_errors():
            self._files.rm(self._path(step, attempt), recursive=True)
