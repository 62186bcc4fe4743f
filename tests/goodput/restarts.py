"""Restart time by number of ranks, all on one simulated machine."""

import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import make_dataset
from tests.goodput.training import Training, load, spent_s
from tests.multinode.lab import DRIVER, Lab

WARM_UP = 15  # steps, so that there is a checkpoint


@dataclass(frozen=True)
class Restart:
    """A restart after SIGKILL to one rank.

    Attributes:
        ranks: number of ranks.
        standby: whether standby processes had loaded their modules.
        new_controller: whether Ray Train's controller was started anew too, after `world.max_failures` restarts.
        seconds: from the kill until the next step was done.
        detected_s: from the kill until Ray Train's controller noticed, which is part of it.
        central_cpu_s: CPU seconds of the launcher, Ray Train's controller and Ray's head during the restart.
        rank_cpu_s: CPU seconds of each rank's new process from the kill to its first step, on average.
        load: processes that wanted a core, of the whole machine.
    """

    ranks: int
    standby: bool
    new_controller: bool
    seconds: float
    detected_s: float | None
    central_cpu_s: float
    rank_cpu_s: float
    load: float


def measure_restarts(ranks: int, kills: int, standby: bool) -> list[Restart]:
    """Kill a random rank of a training so many times."""
    draw, found = random.Random(ranks), list[Restart]()
    with tempfile.TemporaryDirectory(prefix="cgdlab", dir="/tmp") as name:
        folder = Path(name)
        make_dataset(folder)
        with Lab(folder, workers=1, cpus=ranks) as lab:
            training = Training(lab, "restarts", ranks, standby=standby)
            for _ in range(kills):
                training.wait_for_steps(WARM_UP)
                if standby:
                    training.wait_for_standby()
                found.append(_restart(training, standby, draw))
                print(found[-1], flush=True)
            training.stop()
    return found


def _restart(training: Training, standby: bool, draw: random.Random) -> Restart:
    lab, attempt = training.lab, training.steps[-1]["attempt"]
    central, workers = training.central_cpu_s(), training.cpu_s(lab.workers)
    controllers = set(training.cpu_s([DRIVER], "TrainController"))
    moment, _ = training.kill("rank", draw)
    limit = time.monotonic() + 300
    while (last := training.steps[-1])["attempt"] == attempt:
        assert time.monotonic() < limit, training.job.logs()[-2000:]
        time.sleep(0.1)
    computed = spent_s(workers, training.cpu_s(lab.workers, "TrainWorker"))
    first = next(step for step in training.steps if step["attempt"] == last["attempt"])
    detected = training.detected(moment)
    return Restart(
        ranks=training.ranks,
        standby=standby,
        new_controller=controllers.isdisjoint(training.cpu_s([DRIVER], "TrainController")),
        seconds=round(first["time"] - moment, 2),
        detected_s=None if detected is None else round(detected, 2),
        central_cpu_s=round(spent_s(central, training.central_cpu_s()), 2),
        rank_cpu_s=round(computed / training.ranks, 2),
        load=load(),
    )
