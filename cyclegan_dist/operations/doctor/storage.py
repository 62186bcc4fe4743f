"""Does every node see the same storage: what one writes all must read, and the data set must be one."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from cyclegan_dist.config.config import Config, home
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.errors import pipeline_command, storage_errors
from cyclegan_dist.operations.doctor.findings import Finding, told
from cyclegan_dist.operations.doctor.fleet import Fleet, answered, everywhere, names_of

RUNS, CHECKPOINTS, DATA = "runs folder", "checkpoints", "data set"
DELAY_S = 5.0  # network file systems may show another node's file so much later
LOOKED_AT = 16  # shards, evenly out of all: a data set of thousands need not be asked for whole
DRIVER = "this machine"


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A data set as a node sees it: the manifest's digest, its shards, those that are missing or of another size."""

    digest: str
    count: int
    damaged: list[str]


def write(folder: str, name: str) -> float:
    """Write a file of that name and content below `folder`, a path or fsspec URL. Returns seconds.

    Raises:
        OSError: if it cannot be written.
    """
    began = time.perf_counter()
    with storage_errors():
        files, root = fsspec.core.url_to_fs(folder)
        files.pipe_file(f"{root}/{name}", name.encode())
    return time.perf_counter() - began


def missing(folder: str, names: list[str]) -> list[str]:
    """Those of `names` that cannot be read from `folder` as they were written."""
    with storage_errors():
        files, root = fsspec.core.url_to_fs(folder)
    limit = time.monotonic() + DELAY_S
    while left := [name for name in names if not _is_there(files, f"{root}/{name}", name)]:
        if time.monotonic() > limit:
            return left
        time.sleep(0.2)
    return []


def _is_there(files: Any, path: str, content: str) -> bool:
    try:
        with storage_errors():
            files.invalidate_cache()
            return files.cat_file(path) == content.encode()
    except OSError:
        return False


def erase(folder: str, name: str) -> None:
    """Remove a file that `write` made, if it is there."""
    with storage_errors():
        files, root = fsspec.core.url_to_fs(folder)
        if files.exists(f"{root}/{name}"):
            files.rm_file(f"{root}/{name}")


def check_place(fleet: Fleet, check: str, path: str, key: str) -> list[Finding]:
    """Every node and this machine write a file at `path`, and all read all.

    Args:
        fleet: the nodes.
        check: what to call it.
        path: folder or URL; it is made, as a run would.
        key: of the config that names it.
    """
    path = path.removeprefix("file://")
    advice = f"Give {key} storage that every node mounts at the same path and may write, or an object store's URL."
    try:
        with _folder(path):
            return _exchange(fleet, check, path, advice)
    except OSError as error:
        return [Finding(check=check, level="red", found=f"{DRIVER}: {told(error)}", advice=advice)]


def _exchange(fleet: Fleet, check: str, path: str, advice: str) -> list[Finding]:
    """Write, read and erase."""
    n = len(fleet.nodes)
    marks = {node.name: f".doctor-{uuid.uuid4().hex[:8]}-{i}" for i, node in enumerate(fleet.nodes)}
    own = f".doctor-{uuid.uuid4().hex[:8]}"
    write(path, own)
    try:
        calls = {name: (write, (path, mark)) for name, mark in marks.items()}
        written, findings = answered(check, fleet.ask(calls), advice)
        findings = findings or _unseen(check, path, advice, {**marks, DRIVER: own}, fleet)
    finally:
        erase(path, own)
        fleet.ask({name: (erase, (path, mark)) for name, mark in marks.items()})
    if findings:
        return findings
    who = f"{n} nodes write and read each other's files in" if n > 1 else "can be written:"
    found = f"{who} {path}, {1e3 * max(written.values()):.0f} ms a file"
    return [Finding(check=check, level="green", found=found, figures={"write_s": written})]


def _unseen(check: str, path: str, advice: str, marks: dict[str, str], fleet: Fleet) -> list[Finding]:
    """Who does not see whose file."""
    every = list(marks.values())
    answers, findings = answered(check, everywhere(fleet, missing, path, every), advice)
    owners = {mark: name for name, mark in marks.items()}
    for reader, left in {**answers, DRIVER: missing(path, every)}.items():
        if left:
            found = f"{reader} does not see in {path} what {names_of(owners[mark] for mark in left)} wrote"
            findings.append(Finding(check=check, level="red", found=found, advice=advice))
    return findings


@contextmanager
def _folder(path: str) -> Iterator[None]:
    """A folder that is there while the block lasts, as a run would make it; what was made for it goes again."""
    new: list[Path] = []
    if "://" not in path:
        above = Path(path).absolute()
        new = [folder for folder in (above, *above.parents) if not folder.exists()]
        above.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in new:
            if not any(folder.iterdir()):  # a run that began meanwhile keeps it
                folder.rmdir()


def check_runs(fleet: Fleet, config: Config) -> list[Finding]:
    """The folder that runs are made in."""
    return check_place(fleet, RUNS, str(home() / config.runs_dir), "runs_dir")


def check_checkpoints(fleet: Fleet, config: Config) -> list[Finding]:
    """The folder or object store of checkpoints, where it is not in the run's folder."""
    if not config.checkpoints:
        return [Finding(check=CHECKPOINTS, level="green", found="in the run's folder")]
    path = config.checkpoints if "://" in config.checkpoints else str(home() / config.checkpoints)
    return check_place(fleet, CHECKPOINTS, path, "checkpoints")


def look_at_data(path: str) -> Shards:
    """A data set as this node sees it."""
    manifest = open_manifest(path, ())
    names = sorted(manifest.shards)
    some = names[:: max(1, len(names) // LOOKED_AT)]
    damaged = [name for name in some if _size_of(f"{manifest.root}/{name}") != manifest.shards[name]["bytes"]]
    return Shards(digest=manifest.digest, count=len(names), damaged=damaged)


def _size_of(path: str) -> int:
    """Bytes, or -1 where there is none."""
    try:
        with storage_errors():
            files, root = fsspec.core.url_to_fs(path)
            return files.size(root)
    except FileNotFoundError:
        return -1


def check_data(fleet: Fleet, config: Config) -> list[Finding]:
    """The data set, equal on all nodes."""
    path = config.data.path
    if path == "synthetic":
        return [Finding(check=DATA, level="green", found="drawn into the run's folder")]
    if not path:
        advice = f"Pass --data.path FOLDER, made with {pipeline_command('prepare')} A_DIR B_DIR FOLDER."
        return [Finding(check=DATA, level="red", found="data.path names none", advice=advice)]
    path = path if "://" in path else os.path.abspath(path)
    advice = "Give data.path storage that every node mounts at the same path, or an object store's URL."
    answers, findings = answered(DATA, everywhere(fleet, look_at_data, path), advice)
    for name, shards in answers.items():
        if shards.damaged:
            found = f"{name}: missing or of another size: {names_of(shards.damaged)}"
            again = f"Copy the data set again, and see {pipeline_command('verify')} {path}."
            findings.append(Finding(check=DATA, level="red", found=found, advice=again))
    digests: dict[str, list[str]] = {}
    for name, shards in answers.items():
        digests.setdefault(shards.digest, []).append(name)
    if len(digests) > 1:
        each = "; ".join(f"{digest[:8]} on {names_of(names)}" for digest, names in digests.items())
        findings.append(Finding(check=DATA, level="red", found=f"not the same on all nodes: {each}", advice=advice))
    return findings or [_one_data_set(path, answers)]


def _one_data_set(path: str, answers: dict[str, Shards]) -> Finding:
    shards = next(iter(answers.values()))
    on = f", the same on {len(answers)} nodes" if len(answers) > 1 else ""
    found = f"{shards.count} shards in {path}, manifest {shards.digest[:8]}{on}"
    return Finding(check=DATA, level="green", found=found, figures={"digest": shards.digest})
