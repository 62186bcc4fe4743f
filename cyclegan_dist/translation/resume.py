"""Resuming a translation that was interrupted, and refusing to replace what is there.

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

from cyclegan_dist.data.files import printable
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import CARD, weights_name
from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.translation.job import Job, Task

MARK = ".translation.json"
BEFORE = "before"  # in it: the targets that were there, and when they were modified
OLDER = {"codec": "auto", "crf": 18}  # options that jobs of older versions did not have


@contextmanager
def unfinished(
    output: Path, job: Job, source: str, tasks: list[Task], *, overwrite: bool = False
) -> Iterator[list[Task]]:
    """The `tasks` that an interrupted run of the same job has not done; all, if there was none.

    Args:
        output: folder of all targets.
        job: of the tasks.
        source: folder or data set of the images.
        tasks: all of the job.
        overwrite: replace targets that are there, and begin even if another job was interrupted in `output`.

    Raises:
        UsageError: if another job has begun in `output`, a target is there already, or it cannot be written.
    """
    mark, facts = output / MARK, _facts(job, source)
    try:
        before = _targets_before(mark, facts)
        if before is not None:
            tasks = [task for task in tasks if not _is_done(output, task, before)]
        else:
            if not overwrite:
                if mark.exists():
                    raise UsageError(
                        f"{output} holds an interrupted translation of other images or with another model or options: "
                        "choose another OUTPUT, or pass --overwrite"
                    )
                refuse_existing(tasks)
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


def refuse_existing(tasks: list[Task]) -> None:
    """Refuse to replace targets: nothing says by which model and in which direction they were made, or by whom.

    Raises:
        UsageError: with one that is there.
    """
    found = [task.target for task in tasks if _time(task) is not None]
    if found:
        others = f" and {len(found) - 1} more of {len(tasks)} results" if len(found) > 1 else ""
        verb = "are" if len(found) > 1 else "is"
        raise UsageError(
            f"{printable(found[0])}{others} {verb} there already: choose another OUTPUT, or pass --overwrite"
        )


def _facts(job: Job, source: str) -> dict[str, Any]:
    """Everything that the written bytes depend on."""
    files = {"weights": Path(job.snapshot, weights_name(job.direction)), "card": Path(job.snapshot, CARD)}
    hashes = {
        name: hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "" for name, path in files.items()
    }
    options = {key: value for key, value in asdict(job).items() if key not in ("snapshot", "device")}
    data = {"manifest": open_manifest(job.dataset, ()).digest} if job.dataset else {}
    return {**options, **hashes, **data, "source": os.path.abspath(source)}


def _targets_before(mark: Path, facts: dict[str, Any]) -> dict[str, int] | None:
    """The targets that were there before the job of `facts` began, with their times; None if it has not begun."""
    if not mark.exists():
        return None
    try:
        found = json.loads(mark.read_text())
        before = found.pop(BEFORE)
    except (ValueError, AttributeError, KeyError):
        found = before = None
    if found is not None:
        found = {**OLDER, **found}
    return before if found == facts and isinstance(before, dict) else None


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
