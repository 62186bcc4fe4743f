"""Drills A1 to A3, A7 to A9 and A13: crashes, hangs and signals of ranks and launchers, on one machine."""

import dataclasses
import signal
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

INTERVAL = 10  # steps between two checkpoints; there is a fault at every second checkpoint
# Small images, so that a step takes about a tenth of a second.
OPTIONS: dict[str, Any] = {
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
ROUNDS = 3  # repetitions of every case
MAX_RECOVERY_S = 60.0


def drilled(stage: Stage, faults: list[Fault]) -> tuple[list[Cost], Comparison]:
    """Inject faults into a run of two ranks, and compare it with an undisturbed run."""
    config = stage.run(name="run", stop_after=8 * 2 * INTERVAL * (len(faults) + 1), **OPTIONS)
    return run_drill(config, faults, report=lambda _: None)


def planned(stage: Stage, cases: list[tuple[str, Point]], rounds: int) -> list[Fault]:
    """A plan with `rounds` repetitions of all cases, alternating between the two ranks."""
    return [
        Fault(number=i, kind=kind, point=point, step=(i + 1) * 2 * INTERVAL, rank=i % 2)  # pyright: ignore
        for i, (kind, point) in enumerate(cases * rounds)
    ]


def costs_by_case(costs: list[Cost], by: Callable[[Cost], str]) -> str:
    """The median costs of each case, as text."""
    cases: dict[str, list[Cost]] = {}
    for cost in costs:
        cases.setdefault(by(cost), []).append(cost)
    return "; ".join(f"{case} {median_costs(group)}" for case, group in cases.items())


def median_costs(group: list[Cost]) -> str:
    """Median seconds until detection and until the next step, and median number of repeated steps, as text."""
    detected = [c.detection_s for c in group if c.detection_s is not None]
    resumed = [c.recovery_s for c in group if c.recovery_s is not None]
    repeated = [c.repeated for c in group if c.repeated is not None]
    if not resumed:
        return "no restart"
    detection = f"detected {statistics.median(detected):.1f} s, " if detected else ""
    return f"{detection}resumed {statistics.median(resumed):.1f} s, {statistics.median(repeated):.0f} steps repeated"


def summary(comparison: Comparison) -> str:
    """The comparison as text."""
    return (
        f"max dW {comparison.max_difference:g}, equal {comparison.equal}, samples lost {comparison.lost}, repeated "
        f"{comparison.doubled}, points missing {comparison.points_missing}, repeated {comparison.points_doubled}"
    )


def recovered(costs: list[Cost], comparison: Comparison, faults: list[Fault]) -> bool:
    """Whether every fault was injected, training resumed in time after each, and the result is the same."""
    counts = (comparison.lost, comparison.doubled, comparison.points_missing, comparison.points_doubled)
    in_time = all(cost.recovery_s is not None and cost.recovery_s < MAX_RECOVERY_S for cost in costs)
    return len(costs) == len(faults) and comparison.equal and counts == (0, 0, 0, 0) and in_time


KILLS: list[tuple[str, Point]] = [("kill", point) for point in get_args(Point)]
ENDS: list[tuple[str, Point]] = [
    (kind, "backward") for kind in ("segfault", "abort", "exit", "exception", "system_exit")
]
HANGS: list[tuple[str, Point]] = [(kind, "forward") for kind in ("hang", "freeze", "hold_lock")]


def run_cases(stage: Stage, cases: list[tuple[str, Point]], by: Callable[[Cost], str]) -> Measured:
    """Run all cases in one training, because starting a training takes longer than most faults."""
    faults = planned(stage, cases, ROUNDS)
    costs, comparison = drilled(stage, faults)
    figure = f"{len(costs)} of {len(faults)}: {costs_by_case(costs, by)}; {summary(comparison)}"
    return Measured(figure, recovered(costs, comparison, faults))


@row(
    "A1",
    "a rank is killed (SIGKILL) at each point of a step",
    "the ranks restart; the result is bit-identical",
    nightly=True,
)
def killed(stage: Stage) -> Measured:
    return run_cases(stage, KILLS, lambda cost: cost.fault.point)


@row(
    "A2",
    "a rank ends by segmentation fault, abort, exit, exception or SystemExit",
    "the ranks restart; the result is bit-identical",
    nightly=True,
)
def ended(stage: Stage) -> Measured:
    return run_cases(stage, ENDS, lambda cost: cost.fault.kind)


@row(
    "A3",
    "a rank hangs: it does not join an exchange, is stopped by SIGSTOP, or holds Python's global lock",
    "detected by timeout; the ranks restart",
    nightly=True,
)
def hung(stage: Stage) -> Measured:
    limit, faults = OPTIONS["world__timeout_s"], planned(stage, HANGS, ROUNDS)
    costs, comparison = drilled(stage, faults)
    in_time = all(cost.detection_s is not None and cost.detection_s < 1.5 * limit + 5 for cost in costs)
    figure = f"timeout {limit:.0f} s: {costs_by_case(costs, lambda cost: cost.fault.kind)}; {summary(comparison)}"
    return Measured(figure, in_time and recovered(costs, comparison, faults))


@dataclasses.dataclass(frozen=True)
class Stopped:
    """End of a launcher after a signal."""

    code: int
    seconds: float
    steps_lost: int
    processes_left: int
    output: str


def stop_with(config: Config, number: int) -> Stopped:
    """Start a training, send a signal to its launcher during the run, and wait for the end."""
    path = config.run_dir.parent / f"{config.name}.yaml"
    path.write_text(dump_config(config))
    command = [sys.executable, "-m", "cyclegan_dist.train", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0)
    limit = time.monotonic() + 120
    while _step(config) < 30 and time.monotonic() < limit:
        time.sleep(0.1)
    children = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(number)
    _, output = process.communicate(timeout=120)
    seconds = time.monotonic() - began
    _, alive = psutil.wait_procs(children, timeout=10)
    saved = max(int(path.name.removeprefix("step-")) for path in config.run_dir.glob("checkpoints/step-*"))
    return Stopped(process.returncode, seconds, _step(config) - saved, len(alive), output)


def _step(config: Config) -> int:
    return max((r.get("step", 0) for r in records(config)), default=0) if _journal(config) else 0


def _journal(config: Config) -> bool:
    return (config.run_dir / "metrics.jsonl").exists()


@row(
    "A7",
    "the launcher receives SIGTERM",
    "a checkpoint is written, exit code 143; SIGTERM to a single rank is handled as a crash",
    nightly=True,
)
def terminated(stage: Stage) -> Measured:
    ends = [stop_with(stage.run(name=f"stop{i}", **OPTIONS), 15) for i in range(3)]
    faults = planned(stage, [("terminate", "forward")], rounds=3)
    costs, comparison = drilled(stage, faults)
    seconds = statistics.median(end.seconds for end in ends)
    right = all((end.code, end.steps_lost, end.processes_left) == (143, 0, 0) for end in ends)
    figure = (
        f"exit codes {[end.code for end in ends]}, {seconds:.1f} s from the signal to the end, steps lost "
        f"{[end.steps_lost for end in ends]}; then {costs_by_case(costs, lambda c: c.fault.kind)}; {summary(comparison)}"
    )
    return Measured(figure, right and recovered(costs, comparison, faults))


@row(
    "A8",
    "Ctrl-C",
    "a checkpoint is written, exit code 130, the command to resume is printed, no process is left",
    nightly=True,
)
def interrupted(stage: Stage) -> Measured:
    ends = [stop_with(stage.run(name=f"stop{i}", **OPTIONS), 2) for i in range(3)]
    right = all((end.code, end.steps_lost, end.processes_left) == (130, 0, 0) for end in ends)
    hint = sum("run the same command again to resume" in end.output for end in ends)
    status = [records(stage.run(name=f"stop{i}", **OPTIONS))[-1]["status"] for i in range(3)]
    figure = (
        f"exit codes {[end.code for end in ends]}, {statistics.median(end.seconds for end in ends):.1f} s to the end, "
        f"steps lost {[end.steps_lost for end in ends]}, processes left {[end.processes_left for end in ends]}, "
        f"command to resume printed {hint} of 3, status {set(status)}"
    )
    return Measured(figure, right and hint == 3 and set(status) == {"KILLED"})


@row(
    "A14",
    "the terminal is closed (SIGHUP), or a cluster announces the end (SIGUSR1, SIGXCPU)",
    "a checkpoint is written, exit code 128 + the signal's number, no process is left",
    nightly=True,
)
def announced_ends(stage: Stage) -> Measured:
    numbers = (signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)
    ends = {number: stop_with(stage.run(name=f"stop{number}", **OPTIONS), number) for number in numbers}
    right = all((e.code, e.steps_lost, e.processes_left) == (128 + n, 0, 0) for n, e in ends.items())
    figure = "; ".join(
        f"{number.name}: exit code {e.code}, {e.seconds:.1f} s, steps lost {e.steps_lost}, processes left {e.processes_left}"
        for number, e in ends.items()
    )
    return Measured(figure, right)


@row(
    "A9",
    "ranks crash repeatedly before the first checkpoint",
    "training ends after max_failures restarts, with the reason",
    nightly=True,
)
def crash_loop(stage: Stage) -> Measured:
    config = stage.run(name="crashes", world__max_failures=2, **OPTIONS)
    write_plan(config.run_dir, [Fault(number=i, kind="exception", step=1) for i in range(10)])
    path = config.run_dir.parent / "crashes.yaml"
    path.write_text(dump_config(config))
    command = [sys.executable, "-m", "cyclegan_dist.train", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    attempts = len(list((config.run_dir / "drill").glob("injected-*")))
    line = done.stderr.strip().splitlines()[-1]
    reason = "a fault of the drill" in line and "Traceback" not in done.stderr
    figure = f"max_failures 2: {attempts} attempts, exit code {done.returncode}, reason reported: {reason}"
    return Measured(figure, (attempts, done.returncode, reason) == (3, 2, True))


@row(
    "A13",
    "twenty random faults in one run",
    "the run finishes and is bit-identical to an undisturbed one",
    nightly=True,
)
def random_faults(stage: Stage) -> Measured:
    faults = random_plan(20, first=2 * INTERVAL, every=2 * INTERVAL, ranks=2, seed=stage.seed, kinds=WITHOUT_CLUSTER)
    costs, comparison = drilled(stage, faults)
    pause = statistics.mean(cost.recovery_s or 0 for cost in costs)
    kinds = sorted({fault.kind for fault in faults})
    figure = (
        f"{len(costs)} of 20 faults of {len(kinds)} kinds, one every {2 * INTERVAL} steps: {summary(comparison)}; goodput "
        f"{100 * comparison.goodput:.0f} %, a fault costs {pause:.0f} s: with one per hour {100 - pause / 36:.1f} %"
    )
    return Measured(figure, recovered(costs, comparison, faults))
