"""What the page shows of a run: its records from an offset on, as lines of its log, points of curves, and grids."""

import contextlib
import math
import time
from collections import deque
from pathlib import Path
from typing import Any

from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.console import estimate_line, progress_line
from cyclegan_dist.tracking.journal import images_of, read_records

MOST_RECORDS = 2000  # in one answer
MOST_LINES = 200


def new_records(path: Path, offset: int, total: int) -> dict[str, Any]:
    """What a run's journal has from byte `offset` on; all of it if it is shorter than that, as that of another run.

    Args:
        path: the run's folder.
        offset: where the answer before ended, or 0.
        total: images of the run, for the lines of the log.

    Returns:
        `offset` after it; `from`, where it begins; `more`, whether there is more than is sent at once; `points` of
        curves, each `[images, values by name]` with None for what is not finite; `grids`, the images seen at each;
        `lines` of the log, the newest `MOST_LINES`, each `[seconds since 1970, text]`.

    Raises:
        OSError: if the journal cannot be read.
    """
    journal = RunFolder(path).journal
    length = journal.stat().st_size if journal.exists() else 0
    start = offset = offset if offset <= length else 0
    points: list[tuple[int, dict[str, float | None]]] = []
    grids: list[int] = []
    lines = deque[tuple[float, str]](maxlen=MOST_LINES)
    read, more = 0, False
    for record, end in read_records(journal, offset) if length else ():
        if read == MOST_RECORDS:
            more = True
            break
        read, offset = read + 1, end
        kind = record["kind"]
        if kind in ("metrics", "evaluation"):
            points.append((images_of(record), {name: _finite(value) for name, value in record["values"].items()}))
        elif kind == "image":
            grids.append(images_of(record))
        with contextlib.suppress(KeyError, TypeError, ValueError):  # lines of other versions may lack a figure
            lines += [(record["time"] / 1000, text) for text in log_lines(record, total)]
    return {"offset": offset, "from": start, "more": more, "points": points, "grids": grids, "lines": list(lines)}


def log_lines(record: dict[str, Any], total: int) -> list[str]:
    """The lines of a record in the log: those of the terminal, and its evaluations and end."""
    kind = record["kind"]
    if kind == "metrics":
        return [progress_line(record, total)]
    if kind == "estimate":
        return [estimate_line(record, total)]
    if kind == "evaluation":
        figures = " ".join(f"{name} {value:.4g}" for name, value in record["values"].items())
        return [f"evaluation after {record['nimg']} images | {figures}"]
    if kind in ("message", "failure"):
        return [record["text"]]
    if kind == "alert":
        return [f"alert: {record['event']}: {record['reason']}"]
    if kind == "run":
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["time"] / 1000))
        return [f"started {started} at {record['nimg']} of {record['total']} images"]
    return [f"end: {record['status']}"] if kind == "end" else []


def grid_path(path: Path, nimg: int) -> Path:
    """The grid of samples of the run in `path` after `nimg` images."""
    return RunFolder(path).samples / f"nimg-{nimg:09d}.png"


def _finite(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None
