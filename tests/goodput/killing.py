"""A training on four machines in which something is killed at a regular interval, and the share of time that counted."""

import itertools
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.operations.drill.measure import lineage
from tests.conftest import make_dataset
from tests.goodput.training import INTERVAL, KINDS, Kind, Training, load, median
from tests.multinode.lab import Lab

RANKS, MACHINES = 3, 4  # one machine is free, for ranks of a machine that is lost
REPAIR_S = 20.0  # until a machine that was killed is switched on again


@dataclass(frozen=True)
class Kill:
    """What was killed and what it cost.

    Attributes:
        kind: `rank` by SIGKILL, `raylet` of a machine with a rank, or `power` of such a machine, silently.
        after_s: seconds from the first step of the training to the kill.
        detected_s: seconds from the kill until Ray Train's controller noticed; None if it did not record it.
        seconds: from the kill until the next step was done.
        repeated: steps that were done again.
        load: processes that wanted a core, of the whole machine.
    """

    kind: Kind
    after_s: float
    detected_s: float | None
    seconds: float
    repeated: int
    load: float


@dataclass(frozen=True)
class Drill:
    """A drill's figures.

    Attributes:
        interval_s: seconds between two kills.
        wall_s: seconds from the first step to the last.
        counted_s: seconds of those in steps that count: that are in the last weights, and were not done again.
        steps: number of these steps.
        step_s: seconds of a step, median.
        stall_s: seconds by which a step with a checkpoint takes longer, of medians.
        lost, doubled: steps that are missing in the last weights, and that are in them twice.
        kills: in order.
    """

    interval_s: float
    wall_s: float
    counted_s: float
    steps: int
    step_s: float
    stall_s: float
    lost: int
    doubled: int
    kills: Sequence[Kill]

    @property
    def goodput(self) -> float:
        """The share of time in steps that count, from 0 to 1."""
        return self.counted_s / self.wall_s


def run_drill(minutes: float, interval_s: float, seed: int = 0) -> Drill:
    """Train for so long and kill something every `interval_s` seconds, the first time after half of it."""
    with tempfile.TemporaryDirectory(prefix="cgdlab", dir="/tmp") as name:
        folder = Path(name)
        make_dataset(folder)
        with Lab(folder, workers=MACHINES) as lab:
            training = Training(lab, "killed", RANKS)
            training.wait_for_steps(1)
            moments = list(_kills(training, minutes * 60, interval_s, random.Random(seed)))
            training.wait_for(lambda steps: not moments or _resumed(steps, moments[-1][1]) is not None)
            training.stop()
            return figures(training, interval_s, moments)


def _kills(
    training: Training, duration_s: float, interval_s: float, draw: random.Random
) -> Iterator[tuple[Kind, float, float]]:
    """Kill something until the end. Yields kind, time and load of each."""
    lab, began = training.lab, training.steps[0]["time"]
    kinds, due = itertools.cycle(KINDS), began + interval_s / 2
    repairs: dict[str, tuple[float, Kind]] = {}
    while (now := time.time()) < began + duration_s:
        for machine, (_, kind) in [repair for repair in repairs.items() if repair[1][0] < now]:
            del repairs[machine]
            if kind == "raylet":
                lab.kill(machine)  # what a lost raylet has left
            lab.network.heal(machine)
            lab.start(machine)
        if now >= due:
            due += interval_s
            kind = next(kinds)
            moment, machine = training.kill(kind, draw)
            if kind != "rank":
                repairs[machine] = (now + REPAIR_S, kind)
            print(f"{now - began:.0f} s: {kind} of {machine}, load {load()}", flush=True)
            yield kind, moment, load()
        time.sleep(0.5)


def figures(training: Training, interval_s: float, moments: Sequence[tuple[Kind, float, float]]) -> Drill:
    """The figures of a training that was stopped, from the journal of its steps."""
    steps = training.steps
    lost, doubled = lineage(steps, steps[-1]["step"])
    durations = counted(steps)
    saving = [seconds for step, seconds in durations.items() if step % INTERVAL == 0]
    others = [seconds for step, seconds in durations.items() if step % INTERVAL]
    return Drill(
        interval_s=interval_s,
        wall_s=round(steps[-1]["time"] - steps[0]["time"], 2),
        counted_s=round(sum(durations.values()), 2),
        steps=len(durations),
        step_s=round(median(durations.values()), 4),
        stall_s=round(max(0.0, median(saving) - median(others)), 4),
        lost=lost,
        doubled=doubled,
        kills=[_cost(training, steps, *moment) for moment in moments],
    )


def counted(steps: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Seconds of each step that counts: from the end of the one before it, of the same attempt, to its own. The first
    step of an attempt is left out: its time belongs to the restart.
    """
    found: dict[int, float] = {}
    for before, step in itertools.pairwise(steps):
        if step["attempt"] == before["attempt"]:
            found[step["step"]] = step["time"] - before["time"]
        else:  # what follows the checkpoint is done again
            found = {number: seconds for number, seconds in found.items() if number < step["step"]}
    return found


def _resumed(steps: Sequence[dict[str, Any]], moment: float) -> dict[str, Any] | None:
    """The first step after a kill of other ranks than before, or None."""
    attempt = next(step["attempt"] for step in reversed(steps) if step["time"] <= moment)
    return next((step for step in steps if step["time"] > moment and step["attempt"] != attempt), None)


def _cost(training: Training, steps: Sequence[dict[str, Any]], kind: Kind, moment: float, busy: float) -> Kill:
    after = _resumed(steps, moment)
    assert after is not None
    done = next(step["step"] for step in reversed(steps) if step["time"] < after["time"])
    detected = training.detected(moment)
    return Kill(
        kind=kind,
        after_s=round(moment - steps[0]["time"], 1),
        detected_s=None if detected is None else round(detected, 2),
        seconds=round(after["time"] - moment, 2),
        repeated=done - after["step"] + 1,
        load=busy,
    )
