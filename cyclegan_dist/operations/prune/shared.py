"""What no run needs any more of the files beside runs: data sets that `data.A` and `data.B` were prepared into, and
downloaded models.
"""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cyclegan_dist.data.location import REFERRED
from cyclegan_dist.operations.prune.named import Named
from cyclegan_dist.operations.prune.removal import REMOVED, Part, Removable, at, is_inside
from cyclegan_dist.operations.prune.stores import Stores
from cyclegan_dist.storage.files import is_locked
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.sender_state import server_of
from cyclegan_dist.training.prepared_data import FOLDER, SOURCES

UNUSED_S = 86_400.0  # since the last use, after which what no lock protects is taken for left
DATA_SET = re.compile(rf"\.?([0-9a-f]{{16}})(\.unfinished|\.unpacked|{REMOVED})?")

DRAFT = re.compile(rf"tmp\w{{8}}|\..*{REMOVED}")  # the names that tempfile gives, and those of `remove`


def data_sets(runs_dir: Path, named: Named, note: Callable[[str], None]) -> Iterator[Part]:
    """Those in a folder of runs, or of a sweep's trials, that no configuration names."""
    folder = runs_dir / FOLDER
    if not folder.is_dir() or not is_inside(folder, runs_dir):
        return
    if named.unreadable:
        note(f"{folder} is left alone: {named.unreadable[0]} cannot be read, and may name a data set")
        return
    # A training that has its lock and has not written its config yet may be about to name one.
    locks = [path for path in runs_dir.glob(".*.lock") if is_locked(path)]
    if starting := [path for path in locks if not (runs_dir / path.name[1:-5] / RunFolder(Path()).config).exists()]:
        note(f"{folder} is left alone: {starting[0].name[1:-5]} is being started")
        return
    keys = {found[1] for path in folder.iterdir() if (found := DATA_SET.fullmatch(path.name))}
    for key in sorted(keys):
        yield _data_set(folder, key, named, note)


def _data_set(folder: Path, key: str, named: Named, note: Callable[[str], None]) -> Part:
    def find() -> list[Removable]:
        drafts = [folder / f".{key}{ending}" for ending in (".unfinished", ".unpacked", ".lock", REMOVED)]
        found = [at(path, "a killed process left it") for path in drafts if path.exists() and is_inside(path, folder)]
        out = folder / key
        if is_locked(folder / f"{key}.lock"):
            return []
        if out.is_dir() and is_inside(out, folder) and not named.has(out) and _age(out, out / SOURCES) > UNUSED_S:
            if (out / REFERRED).exists():
                note(f"{out} is left alone: {(out / REFERRED).read_text().splitlines()[0]} refers to its shards")
            else:
                found.append(at(out, "prepared from data.A and data.B, and no run names it"))
        return found

    return Part(f"{folder.name}/{key}", [folder / f"{key}.lock"], find, [folder / key / SOURCES])


def downloaded_models(cache: Path, named: Named, stores: Stores, uris: set[str]) -> Iterator[Part]:
    """Those of the stores at `uris` that no registered version needs."""
    if not cache.is_dir():
        return
    from cyclegan_dist.registry.download import cache_key  # loads mlflow

    for uri in sorted(uris):
        folder = cache / cache_key(server_of(uri))
        if folder.is_dir() and is_inside(folder, cache):
            yield Part(str(folder), [], lambda folder=folder, uri=uri: _models(folder, named, stores, uri))


def _models(folder: Path, named: Named, stores: Stores, uri: str) -> list[Removable]:
    found: list[Removable] = []
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or not is_inside(path, folder) or _age(path, *path.iterdir()) < UNUSED_S:
            continue
        if DRAFT.fullmatch(path.name):
            found.append(at(path, "a killed download left it"))
        elif not named.has(path) and (used := stores.at(uri)) is not None and path.name not in used.cached:
            found.append(at(path, "a downloaded model that no registered version needs"))
    return found


def _age(*paths: Path) -> float:
    """Seconds since the last change of any of the paths that are there."""
    return time.time() - max((path.lstat().st_mtime for path in paths if path.exists()), default=0.0)
