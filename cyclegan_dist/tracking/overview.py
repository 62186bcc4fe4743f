"""What the journals and locks of runs say of them, a row for each. Loads neither torch nor MLflow."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cyclegan_dist.storage.checked import DamagedError, read_checked
from cyclegan_dist.storage.files import is_locked
from cyclegan_dist.storage.layout import RunFolder, Status
from cyclegan_dist.tracking.journal import sparse_records

SETTING_UP = 10  # times world.timeout_s without a record, in which ranks load and compile
LATE = 3  # times the interval of two records, after which a run has stalled
ENDING_S = 130.0  # after the end of its training, in which at most the rest is sent to MLflow and the lock freed

RunState = Literal[
    "running", "stalled", "starting", "finished", "stopped", "failed", "killed", "not started", "unreadable"
]
"""`stalled`: its process is there, and writes no records. `stopped`: by a signal or a stop file. `killed`: its process
is gone without an end in the journal. `starting`: its process is there, and no rank has begun to train. `unreadable`:
its folder or a file in it cannot be read."""
ENDS: dict[str, RunState] = {Status.FINISHED: "finished", Status.KILLED: "stopped", Status.FAILED: "failed"}


@dataclass(frozen=True, kw_only=True)
class RunOverview:
    """A run at this time. What is not known is None, or empty.

    Attributes:
        name: the path from the folder of runs, with the sweep's name for a trial.
        path: its folder.
        state: see `RunState`.
        method: its name, and the side of the images in pixels.
        domains: names of its domains A and B; empty if they have none.
        images: per domain that it has seen by its newest record, and `total` after which it ends.
        images_per_s: by its newest record.
        eta_s: seconds to its end, while it is running.
        best: the figure by which its snapshots are compared, with the best value.
        best_snapshot: the one that has it.
        bytes: on disk, in its folder.
        started: first and `updated` newest record, seconds since 1970.
        reason: why it failed, or cannot be read.
    """

    name: str
    path: str
    state: RunState
    method: str = ""
    domains: tuple[str, ...] = ()
    images: int = 0
    total: int | None = None
    images_per_s: float | None = None
    eta_s: float | None = None
    best: tuple[str, float] | None = None
    best_snapshot: str = ""
    bytes: int = 0
    started: float | None = None
    updated: float | None = None
    reason: str = ""


def find_runs(folder: Path) -> Iterator[tuple[str, Path]]:
    """The runs in a folder of runs and the trials in its sweeps, by name; the folder itself if it is that of a run.
    A folder in it that cannot be read may be a run, and is among them.

    Raises:
        OSError: if the folder cannot be read.
    """
    if _is_run(folder):
        yield folder.absolute().name, folder
        return
    for child in _folders(folder):
        try:
            found = [child] if _is_run(child) else _folders(child)
        except OSError:
            found = [child]
        for one in found:
            if one == child:
                yield child.name, child
            elif _may_be_run(one):
                yield f"{child.name}/{one.name}", one


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and _may_be_folder(path))


def _may_be_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return True


def _may_be_run(path: Path) -> bool:
    try:
        return _is_run(path)
    except OSError:
        return True


def _is_run(path: Path) -> bool:
    folder = RunFolder(path)
    return (folder.journal.exists() or folder.config.exists()) and not folder.sweep_journal.exists()


def overview(name: str, path: Path) -> RunOverview:
    """Read a run's journal, lock and `best.json`. Files that others write meanwhile, or that are damaged, are read as
    far as they go. If the folder, the journal or the lock cannot be read, the run is `unreadable`.
    """
    try:
        os.scandir(path).close()
        return _overview(name, path)
    except OSError as error:
        reason = f"{error.filename or path}: {error.strerror or error}"
        return RunOverview(name=name, path=str(path), state="unreadable", reason=reason, bytes=bytes_in(path))


def _overview(name: str, path: Path) -> RunOverview:
    folder = RunFolder(path)
    locked = is_locked(folder.lock)  # before the journal, in which a run that ends meanwhile has then ended
    run, end, failure = dict[str, Any](), "", ""
    images, total, rate, ends_at, started, updated = 0, None, None, None, None, None
    for record in sparse_records(folder.journal) if folder.journal.exists() else ():
        kind, updated, values = record["kind"], record["time"] / 1000, record.get("values", {})
        started = started or updated
        if kind in ("run", "metrics", "estimate"):
            images = max(images, record.get("nimg", 0))
        if kind == "run":
            run, total, end, failure, ends_at = record, record["total"], "", "", None
        elif kind == "estimate":
            rate, ends_at = values["images_per_s"], values["seconds"] + updated
        elif kind == "metrics":
            rate, ends_at = values.get("perf/images_per_s"), values.get("perf/eta_s", 0.0) + updated
        elif kind == "early_end":
            total = record["nimg"]
        elif kind == "failure":
            failure = record["text"]
        elif kind == "end":
            end = record["status"]
    config, now = run.get("config", {}), time.time()
    state: RunState = "killed" if run else "not started"
    # A launcher restarts failed ranks. One that has the lock long after another end is resuming the run.
    if end and not (locked and (end == Status.FAILED or now - (updated or now) > ENDING_S)):
        state = ENDS.get(end, "failed")
    elif locked:
        state = "running" if run and not end else "starting"
    if state == "running" and images < (total or 0) and (limit_s := stall_limit_s(config, rate)) is not None:
        state = "stalled" if now - (updated or now) > limit_s else state
    if state in ("failed", "killed") and (known := folder.read_failure()) is not None:
        failure = known.message
    best, snapshot = _best(folder.best)
    side = config.get("data.crop_size" if "crop" in config.get("data.preprocess", "crop") else "data.load_size", "")
    return RunOverview(
        name=name,
        path=str(path),
        state=state,
        method=f"{config.get('method.name', '')} {side}".strip(),
        domains=tuple(run.get("domain_names", {}).values()),
        images=images,
        total=total,
        images_per_s=rate,
        eta_s=max(0.0, ends_at - now) if state == "running" and ends_at is not None else None,
        best=best,
        best_snapshot=snapshot,
        bytes=bytes_in(path),
        started=started,
        updated=updated,
        reason=failure if state in ("failed", "killed") else "",
    )


def stall_limit_s(config: dict[str, Any], images_per_s: float | None) -> float | None:
    """Seconds without a record after which a training that goes on has stalled; None if it writes none regularly.

    Args:
        config: of the run, by dotted keys.
        images_per_s: its speed; None or 0 if that is not known.
    """
    if not (log := config.get("every.log")):
        return None
    return max(SETTING_UP * config.get("world.timeout_s", 30.0), LATE * log / images_per_s if images_per_s else 0.0)


def _best(path: Path) -> tuple[tuple[str, float] | None, str]:
    try:
        found = read_checked(path)
        return (str(found["figure"]), float(found["value"])), str(found["snapshot"])
    except (OSError, DamagedError, LookupError, TypeError, ValueError):
        return None, ""


def bytes_in(path: Path) -> int:
    """Bytes of all files in a folder; what vanishes meanwhile or cannot be read is left out."""
    try:
        with os.scandir(path) as found:
            entries = list(found)
    except OSError:
        return 0
    total = 0
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                total += bytes_in(Path(entry.path))
            else:
                total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total
