"""Drill A5: network links that are cut, cut in one direction, slow, narrow or lossy."""

import itertools
import statistics
import time
from collections.abc import Callable

from cyclegan_dist.operations.drill.measure import read_steps
from tests.faults.machines import DisturbedTraining, cluster, start_all
from tests.faults.matrix import Measured, Stage, row
from tests.faults.processes import median_costs, summary
from tests.multinode.lab import Lab


def cut(seconds: float, how: str = "silent") -> Callable[[DisturbedTraining], None]:
    def inject(training: DisturbedTraining) -> None:
        machine = training.rank_machines()[-1]
        training.lab.network.cut(machine, how)  # pyright: ignore[reportArgumentType]
        time.sleep(seconds)
        training.lab.network.heal(machine)

    return inject


def cut_permanently(training: DisturbedTraining) -> None:
    machine = training.rank_machines()[-1]
    training.lab.network.cut(machine)
    old = training.last["attempt"]
    training.wait(lambda now: now["attempt"] != old)


def isolate(training: DisturbedTraining) -> None:
    machines = training.rank_machines()
    training.lab.network.isolate(*machines)
    old = training.last["attempt"]
    try:
        training.wait(lambda now: now["attempt"] != old)
    finally:
        training.lab.network.heal(*machines)


CUTS: dict[str, Callable[[DisturbedTraining], None]] = {
    "cut for 5 s": cut(5),
    "cut for 60 s": cut(60),
    "cut permanently": cut_permanently,
    "one direction lost for 40 s": cut(40, "inbound"),
    "two ranks cannot reach each other": isolate,
}


def step_ms(training: DisturbedTraining) -> float:
    """Median milliseconds per step over the next steps."""
    step = training.last["step"]
    last = training.wait(lambda now: now["step"] >= step + 20)
    times = [s["time"] for s in read_steps(training.config.run_dir) if step < s["step"] <= last["step"]]
    return 1000 * statistics.median(b - a for a, b in itertools.pairwise(times))


def slow_links(training: DisturbedTraining, lab: Lab) -> str:
    """Step times with delay, packet loss and low bandwidth."""
    figures = [f"undisturbed {step_ms(training):.0f} ms per step"]
    conditions: dict[str, Callable[[str], None]] = {
        "50 ms round trip": lambda machine: lab.network.disturb(machine, delay_ms=25),
        "200 ms": lambda machine: lab.network.disturb(machine, delay_ms=100),
        "1 % lost": lambda machine: lab.network.disturb(machine, loss=0.01),
        "100 Mbit/s": lambda machine: lab.network.narrow(machine, 100),
    }
    for name, disturb in conditions.items():
        machine = training.rank_machines()[-1]
        disturb(machine)
        try:
            figures.append(f"{name} {step_ms(training):.0f} ms")
        finally:
            lab.network.heal(machine)
    return ", ".join(figures)


@row(
    "A5",
    "a network link is cut, cut in one direction, or slow; two ranks cannot reach each other",
    "training pauses or restarts on reachable nodes; only the current attempt writes checkpoints",
    nightly=True,
)
def partitioned(stage: Stage) -> Measured:
    lab = cluster()
    training = DisturbedTraining(lab, f"a5-{time.time_ns()}")
    training.wait(lambda last: last["step"] >= 1)
    groups: dict[str, list[int]] = {}
    writers = []
    for name, inject in CUTS.items():
        lab.network.heal(*lab.workers)
        start_all(lab, lab.workers)
        training.warm_up()
        groups.setdefault(name, []).append(len(training.faults))
        with training.fault():
            inject(training)
        training.warm_up()
        writers.append(training.writer() == training.last["attempt"])
    lab.network.heal(*lab.workers)
    start_all(lab, lab.workers)
    slow = slow_links(training, lab)
    costs, comparison = training.finish()
    parts = []
    for name, numbers in groups.items():
        group = [costs[i] for i in numbers]
        if name == "cut for 5 s":
            restarts = sum(cost.detection_s is not None and cost.detection_s < 30 for cost in group)
            parts.append(f"{name}: pause {statistics.median(map(training.pause_s, group)):.1f} s, {restarts} restarts")
        else:
            parts.append(f"{name}: {median_costs(group)}")
    figure = (
        f"{'; '.join(parts)}; newest checkpoint by the current attempt {sum(writers)} of {len(writers)}; {slow}; "
        f"{summary(comparison)}"
    )
    return Measured(figure, all(writers) and comparison.equal and not (comparison.lost or comparison.doubled))
