"""Resuming a translation that was interrupted.

A hidden file in OUTPUT describes the job while it is not finished, and the targets that were there before it began.
Results are renamed into place when they are complete, so that every other target that is there is done. Times of files
are compared for equality only, because clocks may be wrong.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import CARD, weights_name
from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.translation.job import Job, Task

MARK = ".translation.json"
BEFORE = "before"  # in it: the targets that were there, and when they were modified
OLDER = {"codec": "auto", "crf": 18}  # options that jobs of older versions did not have


@contextmanager
def unfinished(output: Path, job: Job, source: str, tasks: list[Task]) -> Iterator[list[Task]]:
    """The `tasks` that an interrupted run of the same job has not done; all, if there was none.

    Args:
        output: folder of all targets.
        job: of the tasks.
        source: folder or data set of the images.
        tasks: all of the job.

    Raises:
        UsageError: if another job has begun in `output`, or it cannot be written.
    """
    mark, facts = output / MARK, _facts(job, source)
    try:
        if mark.exists():
            before = _read(mark, facts)
            tasks = [task for task in tasks if not _is_done(output, task, before)]
        else:
            output.mkdir(parents=True, exist_ok=True)
            times = {_name(output, task): _time(task) for task in tasks}
            before = {name: time for name, time in times.items() if time is not None}
            write_atomic(mark, json.dumps({**facts, BEFORE: before}, indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from error
    try:
        yield tasks
    except UsageError:
        if not any(_is_done(output, task, before) for task in tasks):  # nothing to resume
            mark.unlink(missing_ok=True)
        raise
    mark.unlink(missing_ok=True)


def _facts(job: Job, source: str) -> dict[str, Any]:
    """Everything that the written bytes depend on."""
    files = {"weights": Path(job.snapshot, weights_name(job.direction)), "card": Path(job.snapshot, CARD)}
    hashes = {
        name: hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "" for name, path in files.items()
    }
    options = {key: value for key, value in asdict(job).items() if key not in ("snapshot", "device")}
    data = {"manifest": open_manifest(job.dataset, ()).digest} if job.dataset else {}
    return {**options, **hashes, **data, "source": os.path.abspath(source)}


def _read(mark: Path, facts: dict[str, Any]) -> dict[str, int]:
    """The targets that were there before the job began, with their times. Refuses another job than that of `facts`."""
    try:
        found = json.loads(mark.read_text())
        before = found.pop(BEFORE)
    except (ValueError, AttributeError, KeyError):
        found = before = None
    if found is not None:
        found = {**OLDER, **found}
    if found != facts or not isinstance(before, dict):
        raise UsageError(
            f"{mark.parent} holds an interrupted translation of other images or with another model or options: "
            f"choose another OUTPUT, or remove {mark}"
        )
    return before


def _is_done(output: Path, task: Task, before: dict[str, int]) -> bool:
    return _time(task) not in (None, before.get(_name(output, task)))


def _name(output: Path, task: Task) -> str:
    return os.path.relpath(task.target, output)


def _time(task: Task) -> int | None:
    """When a task's target was modified, in nanoseconds; None if it does not exist."""
    try:
        return os.stat(task.target).st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None
