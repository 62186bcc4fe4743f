"""Resuming a translation that was interrupted.

A hidden file in OUTPUT describes the job while it is not finished. Results are renamed into place when they are
complete, so that everything newer than that file is done.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import CARD, weights_name
from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.translation.job import Job, Task

MARK = ".translation.json"


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
            _refuse_other(mark, facts)
            begun = mark.stat().st_mtime_ns
            tasks = [task for task in tasks if not _is_newer(Path(task.target), begun)]
        else:
            output.mkdir(parents=True, exist_ok=True)
            write_atomic(mark, json.dumps(facts, indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from error
    begun = mark.stat().st_mtime_ns
    try:
        yield tasks
    except UsageError:
        if not any(_is_newer(Path(task.target), begun) for task in tasks):  # nothing to resume
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
    return {**options, **hashes, "source": os.path.abspath(source)}


def _refuse_other(mark: Path, facts: dict[str, Any]) -> None:
    try:
        found = json.loads(mark.read_text())
    except ValueError:
        found = None
    if found != facts:
        raise UsageError(
            f"{mark.parent} holds an interrupted translation of other images or with another model or options: "
            f"choose another OUTPUT, or remove {mark}"
        )


def _is_newer(path: Path, time_ns: int) -> bool:
    return path.exists() and path.stat().st_mtime_ns >= time_ns
