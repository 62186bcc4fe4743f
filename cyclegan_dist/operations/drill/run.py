"""A drill: a config trained twice, without faults and with them, and the two runs compared."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from cyclegan_dist.config.config import Config, dump_config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.drill.driver import wait_and_signal
from cyclegan_dist.operations.drill.measure import Comparison, Cost, compare, costs, read_steps
from cyclegan_dist.operations.drill.plan import FOLDER, Fault, read_plan, write_plan

TRAIN = [sys.executable, "-m", "cyclegan_dist.train"]
RESULT = "result.json"
Report = Callable[[str], object]


def run_drill(config: Config, faults: list[Fault], report: Report = print) -> tuple[list[Cost], Comparison]:
    """Train to the config's `stop_after` as NAME-baseline, without faults, and as NAME-drill, with them.

    Args:
        config: to train.
        faults: to inject.
        report: called with a line for each training that starts.

    Returns:
        The cost of each fault that was injected, and how the two runs differ at the end.

    Raises:
        UsageError: if a run of that name is not this drill, a training fails, or ends before the last fault.
    """
    baseline = replace(config, name=f"{config.name}-baseline")
    drilled = replace(config, name=f"{config.name}-drill")
    for run, plan in ((baseline, []), (drilled, faults)):
        _refuse_other_plan(run, plan)
        report(f"training {run.name}, {len(plan)} faults")
        _train(run, plan, report)
        _refuse_short(run, faults)
    return costs(drilled.run_dir, faults), compare(drilled, baseline)


def write_result(config: Config, found: list[Cost], comparison: Comparison) -> Path:
    """Write the figures of a config's drill into the folder of its run NAME-drill. Returns the file."""
    path = config.run_dir.with_name(f"{config.name}-drill") / FOLDER / RESULT
    result = {"costs": [asdict(cost) for cost in found], "comparison": asdict(comparison)}
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def _refuse_other_plan(run: Config, faults: list[Fault]) -> None:
    known = read_plan(run.run_dir)
    if known is None:
        if run.run_dir.exists():
            raise UsageError(f"{run.run_dir} exists and is not a drill: give another --name")
        write_plan(run.run_dir, faults)
    elif known != faults:
        raise UsageError(f"{run.run_dir} is a drill with other faults: give another --name")


def _refuse_short(run: Config, faults: list[Fault]) -> None:
    """Refuse a run that has ended before a fault is due."""
    last, due = read_steps(run.run_dir)[-1]["step"], max(fault.step for fault in faults)
    if last < due:
        raise UsageError(
            f"{run.name} ends after {last} steps, before the last fault at step {due}: lower --every-steps, or train "
            "longer (--schedule.n_epochs N), under another --name"
        )


def _train(run: Config, faults: list[Fault], report: Report) -> None:
    """Start the training until it has finished, again after each fault that ended it."""
    path = run.run_dir / FOLDER / "run.yaml"
    path.write_text(dump_config(run))
    pending = [fault for fault in faults if fault.targets_driver]
    log = path.with_name("output.txt")
    while True:
        began = time.monotonic()
        with log.open("a") as output:
            # A process group of its own: Ctrl-C reaches this process only, which then ends the training.
            process = subprocess.Popen([*TRAIN, str(path)], stdout=output, stderr=output, process_group=0)
            sent = wait_and_signal(process, run.run_dir, pending)
        if process.returncode == 0:
            return
        if sent is None:
            raise UsageError(f"training {run.name} ended with exit code {process.returncode}: see {log}")
        pending.remove(sent)
        report(f"{sent.kind}: exit code {process.returncode} after {time.monotonic() - began:.0f} s; restarting")
