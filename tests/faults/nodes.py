"""Drills A4, A6 and A11: loss of a node, of the head or of the launcher, and a change of the number of ranks."""

import time

from tests.faults.machines import DisturbedTraining, cluster, start_all
from tests.faults.matrix import Measured, Stage, row
from tests.faults.processes import (
    MAX_RECOVERY_S,
    ROUNDS,
    costs_by_case,
    drilled,
    median_costs,
    planned,
    recovered,
    summary,
)
from tests.multinode.lab import HEAD
from tests.multinode.network import possible
from tests.ranks import run_ranks
from tests.training.trainings import final_state, go, records


def take_down(training: DisturbedTraining, how: str) -> None:
    """Take down a machine that runs a rank."""
    machine = training.rank_machines()[-1]
    if how == "raylet":
        training.lab.kill_raylet(machine)
    else:
        training.lab.kill(machine, silently=how == "silence")


@row(
    "A4",
    "a node is lost, with and without a spare node",
    "the ranks move to the spare node; without one they wait for a node",
    nightly=True,
)
def node_lost(stage: Stage) -> Measured:
    lab = cluster()
    training = DisturbedTraining(lab, f"a4-{time.time_ns()}")
    groups: dict[str, list[int]] = {}
    training.wait(lambda last: last["step"] >= 1)
    for how in ("power off", "silence", "raylet") * ROUNDS:
        start_all(lab, lab.workers)
        training.warm_up()
        groups.setdefault(how, []).append(len(training.faults))
        with training.fault():
            take_down(training, how)
    for _ in range(ROUNDS):
        start_all(lab, lab.workers)
        training.warm_up()
        spare = next(machine for machine in lab.workers if machine not in training.rank_machines())
        lab.kill(spare)
        time.sleep(12)  # until the head detects it
        groups.setdefault("no spare, one added after 20 s", []).append(len(training.faults))
        with training.fault():
            take_down(training, "power off")
            time.sleep(20)
            start_all(lab, (spare,))
    training.warm_up()
    costs, comparison = training.finish()
    figure = "; ".join(f"{how}: {median_costs([costs[i] for i in numbers])}" for how, numbers in groups.items())
    right = comparison.equal and not (comparison.lost or comparison.doubled or comparison.points_doubled)
    quick = all(cost.recovery_s is not None and cost.recovery_s < MAX_RECOVERY_S for cost in costs[: 3 * ROUNDS])
    return Measured(f"{figure}; {summary(comparison)}", right and quick)


@row("A6", "the launcher or the head is killed, and the command is repeated", "training resumes", nightly=True)
def launcher_lost(stage: Stage) -> Measured:
    faults = planned(stage, [("driver_kill", "step")], rounds=ROUNDS)
    costs, comparison = drilled(stage, faults)
    lab = cluster()
    training = DisturbedTraining(lab, f"a6-{time.time_ns()}")
    training.wait(lambda last: last["step"] >= 30)
    with training.fault():
        lab.kill(HEAD)
        ended = time.monotonic()
        for machine in (*lab.workers, "driver"):
            if lab.processes(machine, "/raylet/raylet "):
                lab.kill(machine)  # a supervised `ray start --block` exits when its head is lost
        lab.start(HEAD)
        start_all(lab, ("driver", *lab.workers[:2]))
        again = time.monotonic() - ended
        training.resubmit()
    training.warm_up()
    heads, after = training.finish()
    figure = (
        f"launcher: {costs_by_case(costs, lambda c: c.fault.kind)}; {summary(comparison)}; head: cluster back after {again:.0f} s, "
        f"{median_costs(heads)}; {summary(after)}"
    )
    return Measured(figure, recovered(costs, comparison, faults) and after.equal and not after.lost)


@row(
    "A11",
    "the number of ranks changes",
    "the same images; the same weights up to rounding without history buffers, and others with them",
    slow=True,
)
def resized(stage: Stage) -> Measured:
    """Train in double precision, without history buffers and with them. Each rank has a buffer of its own, from which
    it draws, so with another number of ranks discriminators see other translated images: another sample of the same
    training, and not the same weights.
    """
    worlds, images = [(2, 1, 2), (2, 4), (4, 3)], stage.times(48, 96)
    without, journals = zip(*(difference(stage, ranks, images, pool_size=0) for ranks in worlds), strict=True)
    with_history, _ = difference(stage, worlds[0], images, pool_size=10)
    figure = (
        f"pool_size 0: 2-1-2, 2-4, 4-3 ranks against one: max dW {max(without):.1e}, no step lost or repeated: "
        f"{list(journals)}; pool_size 10: 2-1-2 ranks against one: max dW {with_history:.1e}"
    )
    right = max(without) < 1e-9 < with_history and all(journals)
    if not stage.thorough or possible():
        return Measured(figure, right)
    found = elastic()
    return Measured(f"{figure}; {found.figure}", right and found.passed)


def difference(stage: Stage, worlds: tuple[int, ...], images: int, pool_size: int) -> tuple[float, bool]:
    """Train for so many images on one rank, and on numbers of ranks that change at equal intervals. Returns the greatest
    difference of a weight, and whether each point was recorded once.
    """
    exact = {
        "optim__precision": "fp64",
        "method__pool_size": pool_size,
        "optim__batch_size": 12,
        "world__num_workers": (1, 4),
        "schedule__n_epochs": 20,
    }
    first = stage.run(name=f"alone{pool_size}", stop_after=images, **exact)
    go(first)
    name = f"changed{pool_size}-{'-'.join(map(str, worlds))}"
    for part, ranks in enumerate(worlds, start=1):
        config = stage.run(name=name, stop_after=images * part // len(worlds), **exact)
        run_ranks(lambda world, config=config: go(config, world), ranks)
    changed = stage.run(name=name, **exact)
    one, two = (final_state(config, 1)[0]["step"]["networks"] for config in (first, changed))
    points = [(r["step"], r["nimg"], r["values"]["lr/G"]) for r in records(changed) if r["kind"] == "metrics"]
    return max(float((one[key] - two[key]).abs().max()) for key in one), sorted(set(points)) == points


def elastic() -> Measured:
    """Lose one of two ranks without a spare node, continue with one rank, and add the second one again."""
    lab = cluster()
    start_all(lab, lab.workers)
    training = DisturbedTraining(lab, f"a11-{time.time_ns()}", world__num_workers=(1, 2))
    training.wait(lambda last: last["step"] >= 1)
    spare = next(machine for machine in lab.workers if machine not in training.rank_machines())
    lab.kill(spare)
    training.warm_up()
    with training.fault():
        take_down(training, "power off")
    training.warm_up()
    with training.fault():
        start_all(lab, lab.workers)
        alone = training.last["attempt"]
        training.wait(lambda now: now["attempt"] != alone)
    training.warm_up()
    worlds = [record["world_size"] for record in records(training.config) if record["kind"] == "run"]
    costs, comparison = training.finish()
    figure = f"elastic, ranks {worlds}: alone {median_costs(costs[:1])}; second rank {median_costs(costs[1:])}"
    counts = (comparison.lost, comparison.doubled, comparison.points_missing, comparison.points_doubled)
    return Measured(f"{figure}; samples lost, repeated, points missing, repeated {counts}", counts == (0, 0, 0, 0))
