"""Group A: cables are cut, half cut, slow, narrow and lossy."""

import itertools
import statistics
import time
from collections.abc import Callable

from cyclegan_dist.operations.drill.measure import read_steps
from tests.faults.machines import Struck, all_on, cluster
from tests.faults.matrix import Measured, Stage, row
from tests.faults.processes import medians, sums
from tests.multinode.lab import Lab


def cut(seconds: float, how: str = "silent") -> Callable[[Struck], None]:
    def strike(struck: Struck) -> None:
        machine = struck.rank_machines()[-1]
        struck.lab.network.cut(machine, how)  # pyright: ignore[reportArgumentType]
        time.sleep(seconds)
        struck.lab.network.heal(machine)

    return strike


def cut_for_ever(struck: Struck) -> None:
    machine = struck.rank_machines()[-1]
    struck.lab.network.cut(machine)
    old = struck.last["attempt"]
    struck.wait(lambda now: now["attempt"] != old)


def part(struck: Struck) -> None:
    machines = struck.rank_machines()
    struck.lab.network.part(*machines)
    old = struck.last["attempt"]
    try:
        struck.wait(lambda now: now["attempt"] != old)
    finally:
        struck.lab.network.heal(*machines)


CUTS: dict[str, Callable[[Struck], None]] = {
    "cut for 5 s": cut(5),
    "cut for 60 s": cut(60),
    "cut for ever": cut_for_ever,
    "one direction lost for 40 s": cut(40, "inbound"),
    "two ranks cannot reach each other": part,
}


def pace(struck: Struck) -> float:
    """Median milliseconds between two of some steps."""
    step = struck.last["step"]
    last = struck.wait(lambda now: now["step"] >= step + 20)
    times = [s["time"] for s in read_steps(struck.config.run_dir) if step < s["step"] <= last["step"]]
    return 1000 * statistics.median(b - a for a, b in itertools.pairwise(times))


def slow_links(struck: Struck, lab: Lab) -> str:
    """The step under delays, loss and a narrow cable."""
    figures = [f"undisturbed {pace(struck):.0f} ms a step"]
    conditions: dict[str, Callable[[str], None]] = {
        "50 ms there and back": lambda machine: lab.network.disturb(machine, delay_ms=25),
        "200 ms": lambda machine: lab.network.disturb(machine, delay_ms=100),
        "1 % lost": lambda machine: lab.network.disturb(machine, loss=0.01),
        "100 Mbit/s": lambda machine: lab.network.narrow(machine, 100),
    }
    for name, disturb in conditions.items():
        machine = struck.rank_machines()[-1]
        disturb(machine)
        try:
            figures.append(f"{name} {pace(struck):.0f} ms")
        finally:
            lab.network.heal(machine)
    return ", ".join(figures)


@row("A5", "a cable is cut, half cut, slow; two ranks cannot meet", "a pause, or other ranks; one writer", nightly=True)
def partitioned(stage: Stage) -> Measured:
    lab = cluster()
    struck = Struck(lab, f"a5-{time.time_ns()}")
    struck.wait(lambda last: last["step"] >= 1)
    groups: dict[str, list[int]] = {}
    writers = []
    for name, strike in CUTS.items():
        lab.network.heal(*lab.workers)
        all_on(lab, lab.workers)
        struck.warm_up()
        groups.setdefault(name, []).append(len(struck.faults))
        with struck.blow():
            strike(struck)
        struck.warm_up()
        writers.append(struck.writer() == struck.last["attempt"])
    lab.network.heal(*lab.workers)
    all_on(lab, lab.workers)
    slow = slow_links(struck, lab)
    costs, comparison = struck.finish()
    told = []
    for name, numbers in groups.items():
        mine = [costs[i] for i in numbers]
        if name == "cut for 5 s":
            restarts = sum(cost.detection_s is not None and cost.detection_s < 30 for cost in mine)
            told.append(f"{name}: pause {statistics.median(map(struck.pause_s, mine)):.1f} s, {restarts} restarts")
        else:
            told.append(f"{name}: {medians(mine)}")
    figure = (
        f"{'; '.join(told)}; newest checkpoint by the ranks that train {sum(writers)} of {len(writers)}; {slow}; "
        f"{sums(comparison)}"
    )
    return Measured(figure, all(writers) and comparison.equal and not (comparison.lost or comparison.doubled))
