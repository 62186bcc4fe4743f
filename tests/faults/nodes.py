"""Group A: a node is lost, or the head, or the launcher."""

import time

from tests.faults.machines import Struck, all_on, cluster
from tests.faults.matrix import Measured, Stage, row
from tests.faults.processes import FEW_S, ROUNDS, drilled, medians, planned, sums, told, whole
from tests.multinode.lab import HEAD
from tests.multinode.network import possible
from tests.ranks import run_ranks
from tests.training.trainings import final_state, go, records


def lost(struck: Struck, how: str) -> None:
    """Take a machine with a rank from the cluster."""
    machine = struck.rank_machines()[-1]
    if how == "raylet":
        struck.lab.kill_raylet(machine)
    else:
        struck.lab.kill(machine, silently=how == "silence")


@row(
    "A4", "a node is lost, with a spare and without", "the ranks move; without a spare they wait for one", nightly=True
)
def node_lost(stage: Stage) -> Measured:
    lab = cluster()
    struck = Struck(lab, f"a4-{time.time_ns()}")
    groups: dict[str, list[int]] = {}
    struck.wait(lambda last: last["step"] >= 1)
    for how in ("power off", "silence", "raylet") * ROUNDS:
        all_on(lab, lab.workers)
        struck.warm_up()
        groups.setdefault(how, []).append(len(struck.faults))
        with struck.blow():
            lost(struck, how)
    for _ in range(ROUNDS):
        all_on(lab, lab.workers)
        struck.warm_up()
        spare = next(machine for machine in lab.workers if machine not in struck.rank_machines())
        lab.kill(spare)
        time.sleep(12)  # until the head knows
        groups.setdefault("no spare, one added after 20 s", []).append(len(struck.faults))
        with struck.blow():
            lost(struck, "power off")
            time.sleep(20)
            all_on(lab, (spare,))
    struck.warm_up()
    costs, comparison = struck.finish()
    figure = "; ".join(f"{how}: {medians([costs[i] for i in numbers])}" for how, numbers in groups.items())
    right = comparison.equal and not (comparison.lost or comparison.doubled or comparison.points_doubled)
    quick = all(cost.recovery_s is not None and cost.recovery_s < FEW_S for cost in costs[: 3 * ROUNDS])
    return Measured(f"{figure}; {sums(comparison)}", right and quick)


@row("A6", "the launcher is killed, or the head, and the command given again", "it resumes", nightly=True)
def launcher_lost(stage: Stage) -> Measured:
    faults = planned(stage, [("driver_kill", "step")], rounds=ROUNDS)
    costs, comparison = drilled(stage, faults)
    lab = cluster()
    struck = Struck(lab, f"a6-{time.time_ns()}")
    struck.wait(lambda last: last["step"] >= 30)
    with struck.blow():
        lab.kill(HEAD)
        ended = time.monotonic()
        for machine in (*lab.workers, "driver"):
            if lab.processes(machine, "/raylet/raylet "):
                lab.kill(machine)  # as `ray start --block` ends under a supervisor when its head is gone
        lab.start(HEAD)
        all_on(lab, ("driver", *lab.workers[:2]))
        again = time.monotonic() - ended
        struck.resubmit()
    struck.warm_up()
    heads, after = struck.finish()
    figure = (
        f"launcher: {told(costs, lambda c: c.fault.kind)}; {sums(comparison)}; head: cluster back after {again:.0f} s, "
        f"{medians(heads)}; {sums(after)}"
    )
    return Measured(figure, whole(costs, comparison, faults) and after.equal and not after.lost)


@row("A11", "the number of ranks changes", "the same images, the same weights but for rounding", slow=True)
def resized(stage: Stage) -> Measured:
    """In double precision and without history buffers, which are each rank's own."""
    exact = {
        "optim__precision": "fp64",
        "method__pool_size": 0,
        "optim__batch_size": 12,
        "world__num_workers": (1, 4),
        "schedule__n_epochs": 20,
    }
    first = stage.run(name="alone", stop_after=96, **exact)
    go(first)
    worst, journals = 0.0, []
    for i, worlds in enumerate([(2, 1, 2), (2, 4), (4, 3)]):
        for part, ranks in enumerate(worlds, start=1):
            config = stage.run(name=f"changed{i}", stop_after=96 * part // len(worlds), **exact)
            run_ranks(lambda world, config=config: go(config, world), ranks)
        states = [final_state(c, 1)[0]["step"]["networks"] for c in (first, config)]
        worst = max(worst, *(float((states[0][k] - states[1][k]).abs().max()) for k in states[0]))
        points = [(r["step"], r["nimg"], r["values"]["lr/G"]) for r in records(config) if r["kind"] == "metrics"]
        journals.append(sorted(set(points)) == points)
    figure = f"2-1-2, 2-4, 4-3 ranks: max dW {worst:.1e}; no step lost, none twice: {journals}"
    right = worst < 1e-9 and all(journals)
    if not stage.thorough or possible():
        return Measured(figure, right)
    found = elastic()
    return Measured(f"{figure}; {found.figure}", right and found.passed)


def elastic() -> Measured:
    """Of two ranks one is lost without a spare, the other goes on alone, and a second one comes back."""
    lab = cluster()
    all_on(lab, lab.workers)
    struck = Struck(lab, f"a11-{time.time_ns()}", world__num_workers=(1, 2))
    struck.wait(lambda last: last["step"] >= 1)
    spare = next(machine for machine in lab.workers if machine not in struck.rank_machines())
    lab.kill(spare)
    struck.warm_up()
    with struck.blow():
        lost(struck, "power off")
    struck.warm_up()
    with struck.blow():
        all_on(lab, lab.workers)
        alone = struck.last["attempt"]
        struck.wait(lambda now: now["attempt"] != alone)
    struck.warm_up()
    worlds = [record["world_size"] for record in records(struck.config) if record["kind"] == "run"]
    costs, comparison = struck.finish()
    figure = f"elastic, ranks {worlds}: alone {medians(costs[:1])}; a second one {medians(costs[1:])}"
    whole_run = (comparison.lost, comparison.doubled, comparison.points_missing, comparison.points_doubled)
    return Measured(f"{figure}; lost, doubled, points missing, doubled {whole_run}", whole_run == (0, 0, 0, 0))
