"""File systems of paths and URLs, and URIs of local databases."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import fsspec

SQLITE = "sqlite:///"


def file_system_at(place: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path in it. What has no `://` is a local path, also with `::`
    or a colon in it, which fsspec gives another meaning.

    Raises:
        ValueError, ImportError: for a URL of an unknown scheme, or one whose package is not installed.
    """
    if "://" in place:
        return fsspec.core.url_to_fs(place)
    return fsspec.filesystem("file"), os.path.abspath(place)


def sqlite_uri(path: Path) -> str:
    """The URI of a database file, with those characters escaped that would end the path or be unescaped."""
    return SQLITE + re.sub("[%?#]", lambda found: quote(found[0]), str(path))


def sqlite_path(uri: str) -> Path | None:
    """The file of `sqlite_uri`; None for other URIs."""
    return Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])) if uri.startswith(SQLITE) else None
