"""A digest of everything that the bytes of a data set depend on."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy
import PIL
import torch

from cyclegan_dist import __version__
from cyclegan_dist.data.domain_files import DomainFiles
from cyclegan_dist.data.location import is_data_set, scratch
from cyclegan_dist.data.manifest import Manifest, open_manifest
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.sources import find_places

NO_EFFECT = ("a_dir", "b_dir", "out", "append", "overwrite", "workers")  # on the bytes, but for what is listed below
VERSION = 1  # of what is prepared from the same files and options


def inputs_key(
    config: PrepareConfig,
    files: Mapping[str, DomainFiles],
    palette: Palette | None,
    parents: Mapping[str, Manifest],
) -> str:
    """sha256 of the options, of the names, sizes and times of all files, and of the versions of what reads them."""
    digest = hashlib.sha256()

    def add(*facts: Any) -> None:
        digest.update(json.dumps(facts).encode() + b"\n")

    libraries = [numpy.__version__, PIL.__version__, torch.__version__, platform.machine()]
    libraries += [version(name) if find_spec(name) else "" for name in ("imagecodecs", "pyarrow", "tifffile")]
    add(VERSION, __version__, *libraries, repr(palette))
    add({one.name: getattr(config, one.name) for one in fields(PrepareConfig) if one.name not in NO_EFFECT})
    for given in config.excluded:
        if is_data_set(given):
            add(given, open_manifest(given, ()).digest)
    for part, parent in parents.items():
        add(part, parent.digest)
    unpacked = scratch(config.out, ".unpacked")
    for what, some in files.items():
        own = some.folder.is_relative_to(unpacked)
        add(what, some.given)
        for place in find_places(Path(some.given)) if own and some.names else ():
            add(str(place), *_size_and_times(place.path))
        for name in some.names:
            path = some.folder / name
            size, *times = _size_and_times(path)
            add(name, size, *([] if own and not path.is_symlink() else times))  # unpacked now
    return digest.hexdigest()


def _size_and_times(path: Path) -> tuple[int, int, int]:
    """Size, and when it was changed: by itself, and by the file system, as copies may keep the time of their source."""
    try:
        facts = path.stat()
    except OSError:  # a link to nothing, or what is downloaded
        return -1, -1, -1
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
