"""Checks of storage: folders and object stores that all nodes share, and the data set."""

import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.errors import UsageError, pipeline_command, storage_errors
from cyclegan_dist.operations.doctor.nodes import Fleet, call_all, listed, result_of
from cyclegan_dist.operations.doctor.report import Report, first_line
from cyclegan_dist.storage.urls import file_system_at

DELAY_S = 5.0  # delay after which a network file system shows another node's file
SHARDS_CHECKED = 16  # evenly out of all, for a data set may have thousands
DRIVER = "this machine"


def write(folder: str, name: str) -> float:
    """Write a file with its name as content to `folder`, a path or fsspec URL. Returns seconds."""
    began = time.perf_counter()
    with storage_errors():
        files, root = fsspec.core.url_to_fs(folder)
        files.pipe_file(f"{root}/{name}", name.encode())
    return time.perf_counter() - began


def missing(folder: str, names: Sequence[str]) -> list[str]:
    """Those of `names` that cannot be read from `folder` as they were written, also not after `DELAY_S`."""
    with storage_errors():
        files, root = fsspec.core.url_to_fs(folder)
    deadline = time.monotonic() + DELAY_S
    while True:
        files.invalidate_cache()
        left = [name for name in names if result_of(files.cat_file, f"{root}/{name}") != name.encode()]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def erase(folder: str, name: str) -> None:
    """Remove a file of `write`, if there is one."""
    with storage_errors():
        files, root = fsspec.core.url_to_fs(folder)
        if files.exists(f"{root}/{name}"):
            files.rm_file(f"{root}/{name}")


def check_shared(report: Report, fleet: Fleet, path: str, key: str) -> None:
    """Check that every node and this machine can write a file to a folder or URL and read those of all others; `key` is
    the config key of the place.
    """
    path = path.removeprefix("file://")
    advice = f"Set {key} to storage that every node mounts at the same path and can write, or to an object store."
    folder = None if "://" in path else Path(path)
    is_new = folder is not None and not folder.exists()
    run = uuid.uuid4().hex[:8]
    marks = {name: f".doctor-{run}-{i}" for i, name in enumerate([DRIVER, *(node.name for node in fleet.nodes)])}
    owners = {mark: name for name, mark in marks.items()}

    def everywhere(function: Callable[..., Any], names: Callable[[str], Any]) -> dict[str, Any]:
        here = result_of(function, path, names(DRIVER))
        return {DRIVER: here, **fleet.call({node.name: (function, (path, names(node.name))) for node in fleet.nodes})}

    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)  # as a training would
        written = report.answers(everywhere(write, marks.__getitem__), advice)
        if len(written) == len(marks):
            unseen = report.answers(everywhere(missing, lambda _: [*owners]), advice)
            for reader, left in unseen.items():
                if left:
                    found = f"{reader} does not see in {path} what {listed(owners[mark] for mark in left)} wrote"
                    report.add("red", found, advice)
        everywhere(erase, marks.__getitem__)
    except OSError as error:
        report.add("red", f"{DRIVER}: {first_line(error)}", advice)
        return
    finally:
        if folder is not None and is_new:
            with suppress(OSError):  # a training that has begun meanwhile uses it
                folder.rmdir()
    n = len(fleet.nodes)
    shared = f"{n} nodes write and read each other's files in" if n > 1 else "can be written:"
    report.ok(f"{shared} {path}, {1e3 * max(written.values(), default=0):.0f} ms a file", {"write_s": written})


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A data set on a node: digest of its manifest, number of shards, and those missing or of another size."""

    digest: str
    count: int
    damaged: list[str]


def shards_here(path: str) -> Shards:
    """Read the manifest, and compare the sizes of some shards with it."""
    manifest = open_manifest(path, ())
    names = sorted(manifest.shards)
    damaged = []
    with storage_errors():
        for name in names[:: max(1, len(names) // SHARDS_CHECKED)]:
            files, file = file_system_at(manifest.place(name))
            if not files.exists(file) or files.size(file) != manifest.shards[name]["bytes"]:
                damaged.append(name)
    return Shards(digest=manifest.digest, count=len(names), damaged=damaged)


def values_of(config: DataConfig) -> dict[str, ValueRange | None]:
    """The value range of each domain of the data set; 8 bits if it cannot be read, which `check_data` reports."""
    with suppress(UsageError):
        if config.path not in ("", "synthetic"):
            return open_manifest(config.path, ()).selected(config.direction).values
    return {}


def check_data(report: Report, fleet: Fleet, path: str) -> None:
    """Check that all nodes read the same, complete data set."""
    if path == "synthetic":
        report.add("green", "generated into the run's folder")
        return
    if not path:
        advice = f"Pass --data.path FOLDER, made with {pipeline_command('prepare')} A_DIR B_DIR FOLDER."
        report.add("red", "data.path is not set", advice)
        return
    path = path if "://" in path else os.path.abspath(path)
    advice = "Set data.path to storage that every node mounts at the same path, or to an object store."
    answers: dict[str, Shards] = report.answers(call_all(fleet, shards_here, path), advice)
    digests: dict[str, list[str]] = {}
    for name, shards in answers.items():
        digests.setdefault(shards.digest, []).append(name)
        if shards.damaged:
            found = f"{name}: missing or of another size: {listed(shards.damaged)}"
            report.add("red", found, f"Copy the data set again, then run {pipeline_command('verify')} {path}.")
    if len(digests) > 1:
        each = "; ".join(f"{digest[:8]} on {listed(names)}" for digest, names in digests.items())
        report.add("red", f"not the same on all nodes: {each}", advice)
    if answers:
        shards = next(iter(answers.values()))
        same = f", the same on {len(answers)} nodes" if len(answers) > 1 else ""
        found = f"{shards.count} shards in {path}, manifest {shards.digest[:8]}{same}"
        report.ok(found, {"digest": shards.digest})
