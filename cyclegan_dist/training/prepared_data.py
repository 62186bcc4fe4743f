"""The data set of a run that names two folders of images instead: prepared once, beside the runs."""

import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.config import MANIFEST
from cyclegan_dist.data.files import list_files
from cyclegan_dist.data.location import SYNTHETIC
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.sources import Place, exists, find_places
from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.storage.files import lock, write_atomic

FOLDER = ".data"  # in runs_dir, which all nodes of a cluster share
SOURCES = "sources.json"  # in each data set: what it was prepared from
VERSION = 1  # of what is prepared from the same files


def with_prepared_data(config: Config, kept: Config | None) -> Config:
    """The config with the `data.path` of what `data.A` and `data.B` name, prepared if it is not there yet. A run that
    has begun keeps the images that it began with.

    Args:
        config: with an absolute runs_dir.
        kept: of the run if it has begun.

    Raises:
        UsageError: as `find_places` and `prepare`, for a URL, and for another data set at `data.path`.
    """
    if not config.data.A:
        return config
    config = replace(config, data=replace(config.data, A=_absolute(config.data.A), B=_absolute(config.data.B)))
    data = replace(config.data, path="" if config.data.path == SYNTHETIC else config.data.path)  # a preset's
    begun = kept.data.path if kept is not None and (kept.data.A, kept.data.B) == (data.A, data.B) else ""
    if begun and data.path in ("", begun) and (Path(begun) / MANIFEST).exists():
        if not _is_unchanged(config, begun):
            print(
                f"data.A or data.B has changed since run {config.name} began: it goes on with the images that it began "
                f"with, {begun}; start a run of another --name to train on the new ones",
                file=sys.stderr,
            )
        return replace(config, data=replace(data, path=begun))
    if data.path:
        _refuse_other_sources(config)
        return config
    _options(config, Path()).refuse_one_place()
    out = Path(config.runs_dir) / FOLDER / _key(config)
    _prepare(config, out)
    return replace(config, data=replace(data, path=str(out)))


def _absolute(given: str) -> str:
    if "://" in given or given.startswith("pipe:"):
        raise UsageError(
            f"data.A and data.B must be local, and {given} is not: copy it to storage that all nodes share, or prepare "
            "a data set and give --data.path"
        )
    if exists(Path(given)):
        return str(Path(given).absolute())
    places = [Place(Path(part.strip())) for part in given.split(",") if part.strip()]
    return ",".join(str(place if place.is_published else place.path.absolute()) for place in places)


def _options(config: Config, out: Path) -> PrepareConfig:
    """Images are reduced as far as training does anyway, and methods that learn from pairs get those of equal names."""
    data = config.data
    reduced = data.load_size if data.preprocess not in ("crop", "none") else None
    pairs = {"none": "none", "some": "some", "all": "names"}[config.method.pairing]
    return PrepareConfig(Path(data.A), Path(data.B), out, load_size=reduced, pairs=pairs)  # pyright: ignore[reportArgumentType]


def _key(config: Config) -> str:
    """A name for the data set: a hash of the options, and of the names, sizes and times of all files.

    Raises:
        UsageError: as `find_places`.
    """
    options = _options(config, Path())
    found: list[object] = [VERSION, options.load_size, options.pairs]
    for given in (options.a_dir, options.b_dir):
        for place in find_places(given):
            files = sorted(list_files(place.path)) if place.path.is_dir() else [Path()] * (not place.is_published)
            facts = [(os.fsdecode(file), _size_and_time(place.path / file)) for file in files]
            found.append([str(place), facts])
    return hashlib.sha256(json.dumps(found).encode(errors="surrogateescape")).hexdigest()[:16]


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        facts = file.stat()
    except OSError:  # a link to nothing, which is listed as unreadable
        return -1, -1
    return facts.st_size, facts.st_mtime_ns


def _is_unchanged(config: Config, path: str) -> bool:
    try:
        return _key(config) == Path(path).name
    except UsageError:  # they are gone
        return False


def _refuse_other_sources(config: Config) -> None:
    """`config.yaml` of a run names both; another data set with these folders is a mistake."""
    data = config.data
    try:
        sources = json.loads((Path(data.path) / SOURCES).read_text())
    except (OSError, ValueError):
        sources = {}
    if sources != {"A": data.A, "B": data.B}:
        raise UsageError(
            f"data.path {data.path} was not prepared from data.A and data.B: give either the path, or the two folders"
        )


def _prepare(config: Config, out: Path) -> None:
    """Prepare the data set at `out`, unless it is there; another process that does so is waited for."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with lock(out.with_name(f"{out.name}.lock"), held=f"another process prepares {out}: waiting for it", wait=True):
        if not (out / MANIFEST).exists():
            from cyclegan_dist.data.prepare import prepare  # loads torch

            print(f"preparing data.A and data.B once, for all runs of them: {out}", file=sys.stderr)
            try:
                prepare(_options(config, out))
            except UsageError as error:
                command = f"{pipeline_command('prepare')} A_DIR B_DIR OUT"
                raise UsageError(
                    f"{error} (for other options than the default: {command}, and --data.path OUT)"
                ) from error
        write_atomic(out / SOURCES, json.dumps({"A": config.data.A, "B": config.data.B}))
