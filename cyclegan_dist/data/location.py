"""Where a data set or a part of it is. Loads nothing, so that a wrong path is refused at once."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cyclegan_dist.data.config import MANIFEST
from cyclegan_dist.errors import UsageError, pipeline_command, storage_errors
from cyclegan_dist.storage.files import hidden

SYNTHETIC = "synthetic"  # the demo's data set, which is drawn
STATE = ".unfinished"  # at a URL a folder with what is recorded of a preparation until it is complete; in a folder an
# empty file while its data set is replaced

REFERRED = ".referred"  # in a data set: the folders of later versions that need its shards here, a line each


def data_path(data: str, split: str = "") -> str:
    """Where the data set, or its part `split`, is.

    Raises:
        UsageError: if there is none in a local folder. URLs are looked at when they are opened.
    """
    path = f"{data.rstrip('/')}/{split}" if split else data
    if is_data_set(path):
        return path
    if not split:
        raise no_data_set(path)
    whole, is_prepared = Path(data).parent, _is_data_set(data)
    if is_prepared and Path(data).name == split and _is_data_set(str(whole)):
        raise UsageError(f"{data} is itself the part {split}: give --data {whole}, or --data {data} --split ''")
    itself = f", or take the data set itself: --data {data} --split ''" if is_prepared else ""
    make = f"make it with {pipeline_command('prepare')} A_DIR B_DIR {path}"
    raise UsageError(f"{data} has no part {split}: {make}{itself}")


def no_data_set(root: str) -> UsageError:
    """The error for a folder or URL that holds no data set."""
    advice = f"Make it with: {pipeline_command('prepare')} A_DIR B_DIR {root}"
    return UsageError(f"no data set at {root}: {MANIFEST} is missing. {advice}")


def is_data_set(path: str) -> bool:
    """Whether there is a data set at `path`, or may be one if it is a URL."""
    return "://" in path or path.startswith("pipe:") or _is_data_set(path)


def _is_data_set(path: str) -> bool:
    try:
        return (Path(path.removesuffix(MANIFEST)) / MANIFEST).exists()
    except OSError:  # reading it says what is wrong
        return True


def is_url(place: str | Path) -> bool:
    """Whether a data set is at a URL, and not in a local folder."""
    return "://" in str(place)


def scratch(out: str | Path, ending: str) -> Path:
    """A hidden local path for what belongs to the preparation of `out`, always the same: next to a folder, whose file
    system has room for its images, and in TMPDIR for a URL.
    """
    if not is_url(out):
        return hidden(Path(out).absolute(), ending=ending)  # so that no name can make it a URL
    name = f"cyclegan_dist-{os.getuid()}-{hashlib.sha256(str(out).rstrip('/').encode()).hexdigest()[:16]}"
    return hidden(Path(tempfile.gettempdir()) / name, ending=ending)


def is_at(place: str) -> bool:
    """Whether there is a file at a path or URL."""
    if not is_url(place):
        return Path(place).exists()
    with _readable(place) as (files, path):
        return files.exists(path)


def names_in(place: str | Path) -> set[str]:
    """The names in a folder or URL; none if it does not exist.

    Raises:
        UsageError: if a URL cannot be read.
    """
    if not is_url(place):
        return {path.name for path in Path(place).iterdir()} if Path(place).is_dir() else set()
    with _readable(str(place)) as (files, path):
        try:
            return {str(name).rstrip("/").rpartition("/")[2] for name in files.ls(path, detail=False)}
        except FileNotFoundError:
            return set()


@contextmanager
def _readable(place: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL as it is now, and the path in it."""
    from cyclegan_dist.storage.urls import file_system_at  # loads fsspec

    try:
        files, path = file_system_at(place)
        with storage_errors():
            files.invalidate_cache()
            yield files, path.rstrip("/")
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"cannot read {place}: {error}; check the URL and its credentials") from error
