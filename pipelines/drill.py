"""Break a training on purpose, on the cluster it is meant for, and see what it costs.

    python -m pipelines.drill PRESET_or_YAML --fault kill hang [--point backward] [--rank 1] [--set KEY=VALUE ...]
    python -m pipelines.drill PRESET_or_YAML --random 20 [--seed 0]

Trains twice: once undisturbed, as NAME-undisturbed, and once with the faults, one after the other, as NAME-drill. Then
says, for each fault, how many seconds passed until it was known and until the next step was done, and how many steps
were done again; and whether both runs ended with the same weights. Exit code 1 if they did not.

Faults of a rank: kill, segfault, abort, exit, exception, system_exit, terminate, hang (it leaves the others waiting),
freeze (SIGSTOP), hold_lock (Python's), node (Ray on the rank's node). Of the launcher: driver_kill, driver_terminate,
driver_interrupt; the same command is then given again.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import get_args

import tyro
from rich.console import Console
from rich.table import Table

from cyclegan_dist.config.config import Config, dump_config, load_config, with_values
from cyclegan_dist.config.yaml_tree import read_assignments
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.operations.drill.driver import attend
from cyclegan_dist.operations.drill.measure import Comparison, Cost, compare, costs, read_steps
from cyclegan_dist.operations.drill.plan import (
    FOLDER,
    DriverFault,
    Fault,
    Point,
    RankFault,
    random_plan,
    read_plan,
    write_plan,
)

TRAIN = [sys.executable, "-m", "cyclegan_dist.train"]
RESULT = "result.json"
WITHOUT_CLUSTER = [kind for kind in (*get_args(RankFault), *get_args(DriverFault)) if kind != "node"]


@dataclass(frozen=True)
class Drill:
    """Break a training on purpose, and see what it costs."""

    config: tyro.conf.Positional[str]
    """Shipped preset, YAML file, or several joined by +."""
    fault: tuple[RankFault | DriverFault, ...] = ()
    """What is to happen, one after the other."""
    point: Point = "step"
    """Where in a step: data, forward, backward, save, saved, step."""
    rank: int = 0
    """To which rank."""
    random: int = 0
    """Instead: so many faults of random kinds, at random points, to random ranks."""
    seed: int = 0
    """Of those."""
    every_steps: int = 0
    """Steps between two faults, and before the first. 0: two checkpoint intervals."""
    name: str = ""
    """Name of the runs, instead of the config's."""
    set: tuple[str, ...] = ()
    """Other values of the config: KEY=VALUE."""


def drill(command: Drill) -> int:
    """Returns 0 if the drilled run ended with the undisturbed one's weights, and 1 if not.

    Raises:
        UsageError: for what the user can mend.
    """
    config = with_values(load_config(command.config), read_assignments(command.set, "--set"), "--set")
    config = replace(config, name=command.name or config.name)
    faults = _plan(command, config)
    last = (len(faults) + 1) * _interval(command, config)
    config = replace(config, stop_after=last * config.optim.batch_size)
    console = Console()
    found, comparison = break_and_compare(config, faults, console)
    path = config.run_dir.with_name(f"{config.name}-drill") / FOLDER / RESULT
    result = {"costs": [asdict(cost) for cost in found], "comparison": asdict(comparison)}
    path.write_text(json.dumps(result, indent=1) + "\n")
    _show(found, comparison, console)
    console.print(f"figures: {path}", highlight=False, soft_wrap=True)
    if missed := len(faults) - len(found):
        console.print(f"{missed} faults found no occasion: choose another point or rank")
    return 0 if comparison.max_difference == 0 and not comparison.lost and not missed else 1


def break_and_compare(config: Config, faults: list[Fault], console: Console) -> tuple[list[Cost], Comparison]:
    """Train a config twice, to its `stop_after`: undisturbed, and with faults. What each of those cost, and what is
    different at the end.
    """
    undisturbed = replace(config, name=f"{config.name}-undisturbed")
    drilled = replace(config, name=f"{config.name}-drill")
    for run, plan in ((undisturbed, []), (drilled, faults)):
        _refuse_other_plan(run, plan)
        console.print(f"training {run.name}, {len(plan)} faults", highlight=False)
        _train(run, plan, console)
        _refuse_short(run, faults)
    return costs(drilled.run_dir, faults), compare(drilled, undisturbed)


def _interval(command: Drill, config: Config) -> int:
    checkpoints = max(1, config.every.checkpoint // config.optim.batch_size)
    return command.every_steps or 2 * checkpoints


def _plan(command: Drill, config: Config) -> list[Fault]:
    every = _interval(command, config)
    if command.random:
        ranks = max(1, config.world.least_workers)
        kinds = WITHOUT_CLUSTER
        return random_plan(command.random, first=every, every=every, ranks=ranks, seed=command.seed, kinds=kinds)
    if not command.fault:
        raise UsageError("name what is to break: --fault kill, or --random 20")
    if "node" in command.fault and not os.environ.get("RAY_ADDRESS"):
        raise UsageError("--fault node needs a cluster with a node to lose: set RAY_ADDRESS, or submit this as a job")
    return [
        Fault(number=i, kind=kind, step=(i + 1) * every, rank=command.rank, point=command.point)
        for i, kind in enumerate(command.fault)
    ]


def _refuse_other_plan(run: Config, faults: list[Fault]) -> None:
    known = read_plan(run.run_dir)
    if known is None:
        if run.run_dir.exists():
            raise UsageError(f"{run.run_dir} is there, and no drill: give another --name")
        write_plan(run.run_dir, faults)
    elif known != faults:
        raise UsageError(f"{run.run_dir} was drilled with other faults: give another --name")


def _refuse_short(run: Config, faults: list[Fault]) -> None:
    """A run that has ended before a fault is due says nothing of it."""
    last, due = read_steps(run.run_dir)[-1]["step"], max(fault.step for fault in faults)
    if last < due:
        raise UsageError(
            f"{run.name} ends after {last} steps, before the last fault at step {due}: lower --every-steps, or train "
            "longer (--set schedule.n_epochs=...), under another --name"
        )


def _train(run: Config, faults: list[Fault], console: Console) -> None:
    """Give the command until it has finished, again after each fault that ended it."""
    path = run.run_dir / "drill" / "run.yaml"
    path.write_text(dump_config(run))
    pending = [fault for fault in faults if fault.hits_driver]
    log = path.with_name("output.txt")
    while True:
        began = time.monotonic()
        with log.open("a") as output:
            # A group of its own, so that a Ctrl-C meant for the drill is the drill's to pass on.
            process = subprocess.Popen(
                [*TRAIN, str(path)],
                stdout=output,
                stderr=output,
                process_group=0,
            )
            dealt = attend(process, run.run_dir, pending)
        if process.returncode == 0:
            return
        if dealt is None:
            raise UsageError(f"training {run.name} ended with exit code {process.returncode}: see {log}")
        pending.remove(dealt)
        took = time.monotonic() - began
        console.print(f"{dealt.kind}: exit code {process.returncode} after {took:.0f} s; again", highlight=False)


def _show(found: list[Cost], comparison: Comparison, console: Console) -> None:
    table = Table("fault", "point", "rank", "at step", "known after", "next step after", "repeated")
    for cost in found:
        fault = cost.fault
        where = ("", "driver") if fault.hits_driver else (fault.point, str(fault.rank))
        times = [f"{t:.1f} s" if t is not None else "-" for t in (cost.detection_s, cost.recovery_s)]
        table.add_row(fault.kind, *where, str(cost.step), *times, str(cost.repeated))
    console.print(table)
    same = "equal in every bit" if comparison.equal else f"max |dW| {comparison.max_difference:.3g}"
    console.print(
        f"against the undisturbed run: {same}; steps lost {comparison.lost}, doubled {comparison.doubled}; "
        f"metric points missing {comparison.points_missing}, doubled {comparison.points_doubled}; "
        f"goodput {100 * comparison.goodput:.0f} %",
        highlight=False,
    )


def main() -> int:
    """Read the command line and drill. Returns the exit code."""
    return drill(tyro.cli(Drill, prog="python -m pipelines.drill", description=__doc__, use_underscores=False))


if __name__ == "__main__":
    run_command(main)
