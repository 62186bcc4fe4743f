"""Drill G31: permissions of a run's folders and of its data set are taken away."""

import ctypes
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyclegan_dist.errors import run_command
from cyclegan_dist.orchestration.launch import launch
from tests.faults.forked_processes import in_fork
from tests.faults.matrix import Measured, Stage, row
from tests.training.trainings import go, records

DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2  # capabilities by which root ignores permissions
CAPSET, VERSION = 126, 0x20080522  # the system call on x86-64, and the layout of its arguments

Places = Callable[[Path, Path], list[Path]]
PLACES: dict[str, Places] = {
    "run folder": lambda run, data: [run],
    "checkpoints": lambda run, data: [run / "checkpoints"],
    "journal": lambda run, data: [run / "metrics.jsonl"],
    "data set": lambda run, data: [*data.rglob("*.tar"), data],
    "all runs": lambda run, data: [run.parent],
}


def as_other_users() -> None:
    """Make permissions count in this process, also if it is root's."""
    header = (ctypes.c_uint32 * 2)(VERSION, 0)
    kept = [0xFFFFFFFF & ~(1 << DAC_OVERRIDE) & ~(1 << DAC_READ_SEARCH), 0xFFFFFFFF]
    if os.geteuid() == 0:
        library = ctypes.CDLL(None, use_errno=True)
        status = Path("/proc/self/status").read_text()
        had = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapPrm")), 16)
        low, high = had & kept[0], (had >> 32) & kept[1]
        data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
        if library.syscall(CAPSET, header, data):
            raise OSError(ctypes.get_errno(), "capset")


@row(
    "G31",
    "permissions of the run folder, its checkpoints, its journal, all runs or the data set are taken away during a run, "
    "and given back",
    "training goes on as far as it can, and says what it cannot write; the same command is refused in one line and never "
    "begins anew; then it resumes",
)
def taken_away(stage: Stage) -> Measured:
    outcomes = {}
    for place in ["checkpoints", "run folder"] if not stage.thorough else PLACES:
        outcomes[place] = _outcome(stage, place)
    text = "; ".join(f"{place}: {outcome}" for place, outcome in outcomes.items())
    # Where the journal alone cannot be opened, the one that is open is written on, and the run finishes.
    good = all(re.search(r"refused in \d lines?, then resumed at step (4|10)$", one) for one in outcomes.values())
    return Measured(text, good and "Traceback" not in text)


def _outcome(stage: Stage, place: str) -> str:
    name = place.replace(" ", "-")
    data = Path(shutil.copytree(stage.dataset, stage.folder / f"data-{name}"))
    options: dict[str, Any] = {"data__path": str(data), "every__checkpoint": 8, "runs_dir": str(stage.folder / name)}
    config = stage.run(name="run", **options, stop_after=8)
    go(config)
    paths = PLACES[place](config.run_dir, data)
    modes = {path: path.stat().st_mode for path in paths}
    config = stage.run(name="run", **options, stop_after=20)
    log = stage.folder / f"{name}.log"

    def command(*, change: bool) -> int | None:
        """The command in a process of its own; with `change`, permissions go after its first record."""

        def train() -> None:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            as_other_users()
            if change:
                _close_after(config.run_dir, paths)
            run_command(lambda: launch(config, "local"))

        return in_fork(train)

    during = command(change=True)
    said = log.read_text()
    trace = " Traceback" if "Traceback" in said else ""
    again = command(change=False)
    lines = log.read_text().strip().splitlines()
    trace = trace or (" Traceback" if "Traceback" in log.read_text() else "")
    refused = again == 2 and len(lines) <= 2 and lines[-1].startswith("error: ")
    answer = f"refused in {len(lines)} line{'s' * (len(lines) > 1)}" if refused else f"{again}: {lines[-1:]}"
    for path in reversed(paths):
        path.chmod(modes[path])
    go(stage.run(name="run", **options, stop_after=20))
    texts = [record.get("text", "") for record in records(config)]
    first = next((text.split(",")[0] for text in reversed(texts) if "resumed at step" in text), "began anew")
    return f"exit code {during}{trace}, {answer}, then {first}"


def _close_after(run_dir: Path, paths: list[Path]) -> None:
    """Take permissions away when the first step of this process is recorded."""
    from cyclegan_dist.tracking.journal import Journal

    write = Journal.write

    def write_and_close(self: Journal, kind: str, **fields: Any) -> None:
        write(self, kind, **fields)
        if kind == "metrics":
            for path in paths:
                path.chmod(0)

    Journal.write = write_and_close  # type: ignore[method-assign]
