"""Inject faults into a training, and measure the recovery.

    python -m pipelines.drill PRESET_or_YAML --fault kill hang [--point backward] [--rank 1] [--dotted.key value ...]
    python -m pipelines.drill PRESET_or_YAML --random 20 [--seed 0] [--dotted.key value ...]

Run it on the cluster that will train. It trains twice: without faults, as NAME-baseline, and with them, one after the
other, as NAME-drill. Prints for each fault the seconds to its detection and to the next step, and the steps that were
repeated; and whether both runs ended with the same weights. Exit code 1 if they did not. Takes the options of
cyclegan_dist.train for the config.

Faults of a rank: kill, segfault, abort, exit, exception, system_exit, terminate, hang (it leaves the others waiting),
freeze (SIGSTOP), hold_lock (Python's), node (Ray on the rank's node). Of the launcher: driver_kill, driver_terminate,
driver_interrupt; the same command is then started again.
"""

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.operations.drill.plan import WITHOUT_CLUSTER, Fault, Kind, Point, list_plan, random_plan
from cyclegan_dist.train import parse_with_training

if TYPE_CHECKING:
    from cyclegan_dist.operations.drill.measure import Comparison, Cost


@dataclass(frozen=True, kw_only=True)
class Drill:
    """Inject faults into a training, and measure the recovery. Also takes the options of cyclegan_dist.train for the
    config, except --seed, --launcher and --dry_run.
    """

    fault: tuple[Kind, ...] = ()
    """Faults to inject, one after the other."""
    point: Point = "step"
    """Where in a step: data, forward, backward, save, saved, step."""
    rank: int = 0
    """Rank that they are injected into."""
    random: int = 0
    """Instead: number of faults of random kinds, at random points, in random ranks."""
    seed: int = 0
    """Seed of the random faults."""
    every_steps: int = 0
    """Steps between two faults, and before the first. 0: two checkpoint intervals."""


def drill(command: Drill, config: Config) -> int:
    """Run the drill and print the figures. Returns 1 if the weights differ, steps are lost or faults are missing."""
    every = command.every_steps or 2 * max(1, config.every.checkpoint // config.optim.batch_size)
    faults = _plan(command, config, every)
    config = replace(config, stop_after=(len(faults) + 1) * every * config.optim.batch_size)
    from cyclegan_dist.operations.drill.run import run_drill, write_result  # loads torch

    console = Console()
    found, comparison = run_drill(config, faults, lambda line: console.print(line, highlight=False))
    _print(found, comparison, console)
    console.print(f"figures: {write_result(config, found, comparison)}", highlight=False, soft_wrap=True)
    if missing := len(faults) - len(found):
        console.print(f"{missing} faults were not injected: choose another point or rank")
    return int(comparison.max_difference != 0 or comparison.lost > 0 or missing > 0)


def _plan(command: Drill, config: Config, every: int) -> list[Fault]:
    for name in ("rank", "random", "every_steps"):
        if getattr(command, name) < 0:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(command, name)}: give 0 or more")
    if command.random:
        ranks = max(1, config.world.least_workers)
        return random_plan(
            command.random, first=every, every=every, ranks=ranks, seed=command.seed, kinds=WITHOUT_CLUSTER
        )
    if not command.fault:
        raise UsageError("give the faults to inject: --fault kill, or --random 20")
    if "node" in command.fault and not os.environ.get("RAY_ADDRESS"):
        raise UsageError("--fault node needs a cluster with a node to lose: set RAY_ADDRESS, or submit this as a job")
    return list_plan(command.fault, every=every, rank=command.rank, point=command.point)


def _print(found: "list[Cost]", comparison: "Comparison", console: Console) -> None:
    table = Table("fault", "point", "rank", "at step", "detected after", "next step after", "repeated")
    for cost in found:
        fault = cost.fault
        where = ("", "driver") if fault.targets_driver else (fault.point, str(fault.rank))
        times = [f"{t:.1f} s" if t is not None else "-" for t in (cost.detection_s, cost.recovery_s)]
        table.add_row(fault.kind, *where, str(cost.step), *times, "-" if cost.repeated is None else str(cost.repeated))
    console.print(table)
    same = "bit for bit equal" if comparison.equal else f"max |dW| {comparison.max_difference:.3g}"
    console.print(
        f"against the baseline: {same}; steps lost {comparison.lost}, doubled {comparison.doubled}; "
        f"metric points missing {comparison.points_missing}, doubled {comparison.points_doubled}; "
        f"goodput {100 * comparison.goodput:.0f} %",
        highlight=False,
    )


def main() -> int:
    """Read the command line and run the drill. Returns the exit code."""
    command, training = parse_with_training(Drill, "drill", __doc__)
    if training.launcher != "auto" or training.dry_run:
        raise UsageError("--launcher and --dry_run are options of cyclegan_dist.train alone: leave them out")
    return drill(command, training.config)


if __name__ == "__main__":
    run_command(main)
