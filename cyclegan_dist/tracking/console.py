"""Progress of a run: a live line on a terminal, plain lines elsewhere."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import follow
from cyclegan_dist.tracking.quantities import duration, size

LONG_S = 30.0  # between two lines: said beforehand
AGAIN_S = 2.0  # between two tries to read a journal that cannot be read


def watch(run_dir: Path, offset: int, done: threading.Event, console: Console) -> None:
    """Print the run's journal from byte `offset` on, until `done` is set and the rest is printed."""
    text = TextColumn("{task.description}", table_column=Column(ratio=1))  # fills the width, and wraps
    columns = (BarColumn(bar_width=16), TextColumn("{task.percentage:>3.0f}%"), text)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True, expand=True) as bar:
        task = bar.add_task("starting ...", total=None)
        total, line = 0, ""
        for record in _records(RunFolder(run_dir).journal, offset, done, console):
            if record["kind"] == "run":
                total = record["total"]
                bar.update(task, total=total, completed=record["nimg"])
            elif record["kind"] == "metrics":
                line = progress_line(record, total)
                bar.update(task, description=line, completed=record["nimg"])
                if not console.is_terminal:
                    console.print(line, soft_wrap=True, markup=False, highlight=False)
            elif record["kind"] == "estimate":
                bar.update(task, completed=record["nimg"])
                console.print(estimate_line(record, total), soft_wrap=True, markup=False, highlight=False)
            elif record["kind"] in ("message", "failure"):
                console.print(record["text"], soft_wrap=True, markup=False, highlight=False)
    if console.is_terminal and line:  # the bar is cleared; print the last line again
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _records(path: Path, offset: int, done: threading.Event, console: Console) -> Iterator[dict[str, Any]]:
    """The journal's records, also after a time in which it could not be read."""
    failed = False
    while True:
        try:
            for record, offset in follow(path, offset, done):  # noqa: B007, B020 - after an error it goes on there
                yield record
            return
        except OSError as error:
            if not failed:
                text = f"the progress of the training cannot be shown: {path}: {error.strerror or error}"
                console.print(text, soft_wrap=True, markup=False, highlight=False)
            failed = True
        if done.is_set():
            return
        done.wait(AGAIN_S)


def progress_line(record: dict[str, Any], total: int) -> str:
    """One line for a `metrics` record."""
    values = record["values"]
    rate = values["perf/images_per_s"]
    losses = " ".join(
        f"{name.removeprefix('loss/')} {value:.3f}" for name, value in values.items() if name.startswith("loss/")
    )
    return (
        f"step {record['step']} epoch {values['progress/epoch']:.2f} images {record['nimg']}/{total} "
        f"{rate:.{1 if rate >= 1 else 3}f} img/s eta {_clock(values['perf/eta_s'])} "
        f"wait {100 * values['perf/data_wait_frac']:.1f}% | {losses}"
    )


def estimate_line(record: dict[str, Any], total: int) -> str:
    """One line for an `estimate` record."""
    values, left = record["values"], total - record["nimg"]
    parts = [f"{values['images_per_s']:.3g} images/s, {duration(values['seconds'])} for the {left:,} images left"]
    if values["log_s"] >= LONG_S:
        parts.append(f"losses every {duration(values['log_s'])}")
    if memory := values.get("memory_bytes"):
        card = f" of {size(values['card_bytes'])} on the GPU" if "card_bytes" in values else ""
        parts.append(f"memory {size(memory)}{card or ' a rank'}")
    parts.append(f"a checkpoint {size(values['checkpoint_bytes'])}, all that is kept {size(values['kept_bytes'])}")
    if "cost" in values:
        parts.append(f"cost {values['cost']:,.2f}")
    return f"estimate: {'; '.join(parts)}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
