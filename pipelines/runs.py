"""List all runs: what they do, how far they are, the best figure.

    python -m pipelines.runs [RUNS_DIR] [--json] [--preview]

Reads the runs' folders only. The status is `running`, `starting`, `stalled` (its process is there and writes no
records), `finished`, `stopped` (by a signal or the file `STOP`), `failed` (with the reason below the table), `killed`
(its process is gone), `not started` or `unreadable` (with the reason). A running run is told from a killed one by its
lock: on several machines this needs a file system whose locks they all see. `python -m pipelines.prune` frees disk
space.
"""

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.config.config import home
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.overview import RunOverview, find_runs, overview
from cyclegan_dist.tracking.quantities import duration, size

COLOURS = {
    "running": "green",
    "starting": "green",
    **dict.fromkeys(("stalled", "failed", "killed", "unreadable"), "red"),
}


@dataclass(frozen=True)
class Runs:
    """Show all runs."""

    runs_dir: tyro.conf.Positional[Path | None] = None
    """Folder of run folders, or the folder of one. Default: runs."""
    json: bool = False
    """Print a list of objects with all fields instead; times are seconds since 1970."""
    preview: bool = False
    """Show the newest grid of samples of the run that started last, on a terminal with colours."""


def table(runs: Sequence[RunOverview]) -> Table:
    """A row for each run."""
    named = any(run.domains for run in runs)
    columns = ("run", "status", "method", *(["domains"] * named), "images", "images/s", "left", "best", "size")
    columns += ("last record",)
    right = ("images", "images/s", "left", "size")
    shown = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", no_wrap=column != "run")
    for run in runs:
        cells = [
            Text(run.name, overflow="fold"),
            Text(run.state, style=COLOURS.get(run.state, "")),
            run.method,
            *([Text(", ".join(run.domains))] * named),
            f"{run.images:,}" + (f" of {run.total:,}" if run.total else ""),
            f"{run.images_per_s:,.3g}" if run.images_per_s else "",
            duration(run.eta_s) if run.eta_s is not None else "",
            f"{run.best[0]} {run.best[1]:.4g}" if run.best else "",
            size(run.bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(run.updated)) if run.updated else "",
        ]
        shown.add_row(*cells)
    return shown


def show_newest_grid(run: RunOverview, console: Console) -> None:
    """Print the newest grid of a run, or only where it is, on what is not a terminal or has few colours."""
    grid = max(RunFolder(Path(run.path)).samples.glob("nimg-*.png"), default=None)
    if grid is None:
        console.print(f"{run.name} has no grid of samples yet", markup=False, highlight=False)
        return
    console.print(f"{run.name}: {grid}", soft_wrap=True, markup=False, highlight=False)
    if console.is_terminal and console.color_system in ("256", "truecolor"):
        from cyclegan_dist.tracking.preview import preview  # loads what reads images

        console.print(preview(grid, console.width, max(8, console.height - 2)))


def main() -> None:
    """Read the command line and print the table."""
    command = parse_options(Runs, "runs", __doc__)
    if command.json and command.preview:
        raise UsageError("give --json or --preview, not both")
    folder = command.runs_dir or home() / "runs"
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give the --runs_dir of the trainings")
    runs = sorted((overview(*found) for found in find_runs(folder)), key=lambda run: -(run.started or 0))
    if command.json:
        print(json.dumps([dataclasses.asdict(run) for run in runs], indent=2))
    elif not runs:
        print(f"{folder} has no runs")
    else:
        console = Console(width=None if os.isatty(1) else 200)
        console.print(table(runs))
        for run in runs:
            if run.reason:
                console.print(f"{run.name} {run.state}: {run.reason}", soft_wrap=True, markup=False, highlight=False)
        if command.preview:
            show_newest_grid(runs[0], console)


if __name__ == "__main__":
    run_command(main)
