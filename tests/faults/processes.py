"""Group A, first half: ranks and launchers die, hang and are stopped, on a Ray cluster of this machine's own."""

import dataclasses
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, get_args

import psutil

from cyclegan_dist.config.config import Config, dump_config
from cyclegan_dist.operations.drill.measure import Comparison, Cost
from cyclegan_dist.operations.drill.plan import WITHOUT_CLUSTER, Fault, Point, random_plan, write_plan
from cyclegan_dist.operations.drill.run import run_drill
from tests.faults.matrix import Measured, Stage, row
from tests.training.trainings import records

INTERVAL = 10  # steps between two checkpoints; faults come every second one
# Steps of a tenth of a second or so, as small images can have them.
SIZE: dict[str, Any] = {
    "optim__batch_size": 8,
    "method__generator": {"ngf": 8, "n_blocks": 2},
    "data__load_size": 40,
    "data__crop_size": 32,
    "every__checkpoint": 8 * INTERVAL,
    "every__log": 8,
    "schedule__n_epochs": 2000,
    "world__num_workers": 2,
    "world__timeout_s": 10.0,
}
ROUNDS = 3  # of every case
FEW_S = 60.0  # "well under a minute" is what a restart may take on a quiet machine


def drilled(stage: Stage, faults: list[Fault]) -> tuple[list[Cost], Comparison]:
    """Break a run of two ranks and hold it against an undisturbed one."""
    config = stage.run(name="run", stop_after=8 * 2 * INTERVAL * (len(faults) + 1), **SIZE)
    return run_drill(config, faults, report=lambda _: None)


def planned(stage: Stage, cases: list[tuple[str, Point]], rounds: int) -> list[Fault]:
    """Every case in turn, `rounds` times over, to one rank and the other."""
    return [
        Fault(number=i, kind=kind, point=point, step=(i + 1) * 2 * INTERVAL, rank=i % 2)  # pyright: ignore
        for i, (kind, point) in enumerate(cases * rounds)
    ]


def told(costs: list[Cost], by: Callable[[Cost], str]) -> str:
    """The medians of each case."""
    cases: dict[str, list[Cost]] = {}
    for cost in costs:
        cases.setdefault(by(cost), []).append(cost)
    return "; ".join(f"{case} {medians(group)}" for case, group in cases.items())


def medians(group: list[Cost]) -> str:
    """Of the seconds until these faults were known and until the next step, and of the steps done again."""
    known = [c.detection_s for c in group if c.detection_s is not None]
    went_on = [c.recovery_s for c in group if c.recovery_s is not None]
    again = [c.repeated for c in group if c.repeated is not None]
    if not went_on:
        return "no restart"
    seen = f"known {statistics.median(known):.1f} s, " if known else ""
    return f"{seen}on after {statistics.median(went_on):.1f} s, {statistics.median(again):.0f} again"


def sums(comparison: Comparison) -> str:
    return (
        f"max dW {comparison.max_difference:g}, equal {comparison.equal}, lost {comparison.lost}, "
        f"doubled {comparison.doubled}, points missing {comparison.points_missing}, doubled {comparison.points_doubled}"
    )


def whole(costs: list[Cost], comparison: Comparison, faults: list[Fault]) -> bool:
    """Every fault came, each was recovered from within a minute, and nothing is different for it."""
    nothing = (comparison.lost, comparison.doubled, comparison.points_missing, comparison.points_doubled)
    quick = all(cost.recovery_s is not None and cost.recovery_s < FEW_S for cost in costs)
    return len(costs) == len(faults) and comparison.equal and nothing == (0, 0, 0, 0) and quick


KILLS: list[tuple[str, Point]] = [("kill", point) for point in get_args(Point)]
ENDS: list[tuple[str, Point]] = [
    (kind, "backward") for kind in ("segfault", "abort", "exit", "exception", "system_exit")
]
HANGS: list[tuple[str, Point]] = [(kind, "forward") for kind in ("hang", "freeze", "hold_lock")]


def lost(stage: Stage, cases: list[tuple[str, Point]], by: Callable[[Cost], str]) -> Measured:
    """All of these cases in one training, since to start one takes longer than most faults."""
    faults = planned(stage, cases, ROUNDS)
    costs, comparison = drilled(stage, faults)
    figure = f"{len(costs)} of {len(faults)}: {told(costs, by)}; {sums(comparison)}"
    return Measured(figure, whole(costs, comparison, faults))


@row("A1", "a rank is killed (SIGKILL) anywhere in a step", "started again, equal in every bit", nightly=True)
def killed(stage: Stage) -> Measured:
    return lost(stage, KILLS, lambda cost: cost.fault.point)


@row("A2", "a rank ends by SEGV, abort, exit, exception, SystemExit", "started again, equal", nightly=True)
def ended(stage: Stage) -> Measured:
    return lost(stage, ENDS, lambda cost: cost.fault.kind)


@row("A3", "a rank hangs: leaves the others waiting, is frozen, holds Python's lock", "known by time-out", nightly=True)
def hung(stage: Stage) -> Measured:
    limit, faults = SIZE["world__timeout_s"], planned(stage, HANGS, ROUNDS)
    costs, comparison = drilled(stage, faults)
    in_time = all(cost.detection_s is not None and cost.detection_s < 1.5 * limit + 5 for cost in costs)
    figure = f"time-out {limit:.0f} s: {told(costs, lambda cost: cost.fault.kind)}; {sums(comparison)}"
    return Measured(figure, in_time and whole(costs, comparison, faults))


@dataclasses.dataclass(frozen=True)
class Stopped:
    """How a launcher ended that got a signal."""

    code: int
    seconds: float
    steps_lost: int
    left: int
    said: str


def stop_with(config: Config, number: int) -> Stopped:
    """Start a training, send a signal to its launcher in the middle, wait for the end."""
    path = config.run_dir.parent / f"{config.name}.yaml"
    path.write_text(dump_config(config))
    command = [sys.executable, "-m", "cyclegan_dist.train", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0)
    limit = time.monotonic() + 120
    while _step(config) < 30 and time.monotonic() < limit:
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    seconds = time.monotonic() - began
    _, alive = psutil.wait_procs(family, timeout=10)
    kept = max(int(path.name.removeprefix("step-")) for path in config.run_dir.glob("checkpoints/step-*"))
    return Stopped(process.returncode, seconds, _step(config) - kept, len(alive), said)


def _step(config: Config) -> int:
    return max((r.get("step", 0) for r in records(config)), default=0) if _journal(config) else 0


def _journal(config: Config) -> bool:
    return (config.run_dir / "metrics.jsonl").exists()


@row(
    "A7",
    "the launcher gets SIGTERM",
    "a checkpoint, exit code 143; a rank's own SIGTERM is a loss as any",
    nightly=True,
)
def terminated(stage: Stage) -> Measured:
    ends = [stop_with(stage.run(name=f"stop{i}", **SIZE), 15) for i in range(3)]
    faults = planned(stage, [("terminate", "forward")], rounds=3)
    costs, comparison = drilled(stage, faults)
    seconds = statistics.median(end.seconds for end in ends)
    right = all((end.code, end.steps_lost, end.left) == (143, 0, 0) for end in ends)
    figure = (
        f"exit codes {[end.code for end in ends]}, {seconds:.1f} s from the signal to the end, steps lost "
        f"{[end.steps_lost for end in ends]}; then {told(costs, lambda c: c.fault.kind)}; {sums(comparison)}"
    )
    return Measured(figure, right and whole(costs, comparison, faults))


@row("A8", "Ctrl-C", "a checkpoint, exit code 130, what to type to go on, nothing left running", nightly=True)
def interrupted(stage: Stage) -> Measured:
    ends = [stop_with(stage.run(name=f"stop{i}", **SIZE), 2) for i in range(3)]
    right = all((end.code, end.steps_lost, end.left) == (130, 0, 0) for end in ends)
    hint = sum("the same command again resumes" in end.said for end in ends)
    status = [records(stage.run(name=f"stop{i}", **SIZE))[-1]["status"] for i in range(3)]
    figure = (
        f"exit codes {[end.code for end in ends]}, {statistics.median(end.seconds for end in ends):.1f} s to the end, "
        f"steps lost {[end.steps_lost for end in ends]}, processes left {[end.left for end in ends]}, "
        f"said how to go on {hint} of 3, status {set(status)}"
    )
    return Measured(figure, right and hint == 3 and set(status) == {"KILLED"})


@row(
    "A9", "ranks die each time before a first checkpoint", "given up after max_failures, with the reason", nightly=True
)
def storm(stage: Stage) -> Measured:
    config = stage.run(name="storm", world__max_failures=2, **SIZE)
    write_plan(config.run_dir, [Fault(number=i, kind="exception", step=1) for i in range(10)])
    path = config.run_dir.parent / "storm.yaml"
    path.write_text(dump_config(config))
    command = [sys.executable, "-m", "cyclegan_dist.train", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    attempts = len(list((config.run_dir / "drill").glob("injected-*")))
    line = done.stderr.strip().splitlines()[-1]
    reason = "a fault of the drill" in line and "Traceback" not in done.stderr
    figure = f"max_failures 2: {attempts} attempts, exit code {done.returncode}, reason told: {reason}"
    return Measured(figure, (attempts, done.returncode, reason) == (3, 2, True))


@row("A13", "twenty faults at random in one run", "it ends, equal to the undisturbed one in every bit", nightly=True)
def soak(stage: Stage) -> Measured:
    faults = random_plan(20, first=2 * INTERVAL, every=2 * INTERVAL, ranks=2, seed=stage.seed, kinds=WITHOUT_CLUSTER)
    costs, comparison = drilled(stage, faults)
    pause = statistics.mean(cost.recovery_s or 0 for cost in costs)
    kinds = sorted({fault.kind for fault in faults})
    figure = (
        f"{len(costs)} of 20 faults of {len(kinds)} kinds, one each {2 * INTERVAL} steps: {sums(comparison)}; goodput "
        f"{100 * comparison.goodput:.0f} %, a fault costs {pause:.0f} s: with one an hour {100 - pause / 36:.1f} %"
    )
    return Measured(figure, whole(costs, comparison, faults))
