"""A training of two ranks on the cluster of `tests/multinode`, in which drills inject faults."""

import atexit
import contextlib
import functools
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.drill.inject import record_path
from cyclegan_dist.operations.drill.measure import Comparison, Cost, compare, costs, read_steps
from cyclegan_dist.operations.drill.plan import FOLDER, Fault, write_plan
from tests.conftest import make_dataset, make_run
from tests.faults.processes import OPTIONS
from tests.multinode.lab import Job, Lab
from tests.multinode.network import possible
from tests.multinode.training import submit
from tests.ranks import run_ranks
from tests.training.trainings import go

WARM_UP = 15  # steps between two faults, so that there is at least one checkpoint
TIMEOUT_S = 150.0


@functools.cache
def cluster() -> Lab:
    """Two workers and a spare that is off, shared by all drills of this process."""
    if possible():
        raise RuntimeError(possible())
    resources = contextlib.ExitStack()
    atexit.register(resources.close)
    folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="cgdlab", dir="/tmp")))
    make_dataset(folder)
    return resources.enter_context(Lab(folder, workers=2, spare=1))


class DisturbedTraining:
    """A training job in which faults are injected.

    Attributes:
        lab: cluster that it runs on.
        config: configuration of the run.
        job: the current job.
        faults: the faults so far.
    """

    def __init__(self, lab: Lab, name: str, **changes: Any):
        self.lab = lab
        options = {**OPTIONS, "schedule__n_epochs": 100000, "data__path": str(lab.folder / "out"), **changes}
        self.options = options
        self.config: Config = make_run(lab.folder, name=name, **options)
        self.faults: list[Fault] = []
        write_plan(self.config.run_dir, [])
        self.job: Job = submit(lab, self.config)

    @property
    def last(self) -> dict[str, Any]:
        """The last step: step, time, attempt."""
        steps = read_steps(self.config.run_dir)
        return steps[-1] if steps else {"step": 0, "time": 0.0, "attempt": ""}

    def wait(self, reached: Callable[[dict[str, Any]], bool], timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Wait until `reached` holds for the last step, and return it."""
        limit = time.monotonic() + timeout_s
        while not reached(last := self.last):
            if time.monotonic() > limit:
                raise TimeoutError(f"still at {last} after {timeout_s:.0f} s: {self.job.logs()[-2000:]}")
            time.sleep(0.3)
        return last

    def warm_up(self) -> None:
        """Wait for some undisturbed steps."""
        step = self.last["step"]
        self.wait(lambda last: last["step"] >= step + WARM_UP)

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Record the block as a fault, and wait until training resumes, with the same ranks or others."""
        last = self.last
        number = len(self.faults)
        self.faults.append(Fault(number=number, kind="node", step=last["step"]))
        facts = {"time": time.time(), "step": last["step"], "attempt": last["attempt"], "host": ""}
        record_path(self.config.run_dir / FOLDER, number).write_text(json.dumps(facts))
        yield
        moment = facts["time"]
        # New ranks, or the same ranks after a pause.
        self.wait(lambda now: now["attempt"] != last["attempt"] or (now["time"] > moment + 8 and _is_training(self)))

    def resubmit(self) -> None:
        """Submit the same command again."""
        self.job = submit(self.lab, self.config)

    def rank_machines(self) -> list[str]:
        """The machines that run ranks."""
        return [machine for machine in self.lab.workers if self.lab.processes(machine, "TrainWorker")]

    def finish(self) -> tuple[list[Cost], Comparison]:
        """Stop the job with a checkpoint, run as many steps undisturbed, and compare."""
        self.lab.stop(self.job)
        self.job.ended()
        images = self.last["step"] * self.config.optim.batch_size
        name = f"{self.config.name}-undisturbed"
        undisturbed = make_run(self.lab.folder, name=name, **{**self.options, "stop_after": images})
        run_ranks(lambda world: go(undisturbed, world), 2, timeout_s=900)
        return costs(self.config.run_dir, self.faults), compare(self.config, undisturbed)

    def pause_s(self, cost: Cost) -> float:
        """The longest time without a step around a fault."""
        moment = json.loads(record_path(self.config.run_dir / FOLDER, cost.fault.number).read_text())["time"]
        times = [s["time"] for s in read_steps(self.config.run_dir) if moment - 2 < s["time"] < moment + 60]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)

    def writer(self) -> str:
        """The attempt that wrote the newest checkpoint."""
        newest = max(self.config.run_dir.glob("checkpoints/step-*/manifest.json"))
        return json.loads(newest.read_text())["checkpoint"]["attempt"]


def _is_training(training: DisturbedTraining) -> bool:
    return time.time() - training.last["time"] < 1


def start_all(lab: Lab, machines: tuple[str, ...]) -> None:
    """Start the machines that are off, again if their node exits, and wait until the head lists all of them."""
    limit = time.monotonic() + 120
    while not set(machines) <= set(lab.alive()):
        assert time.monotonic() < limit, lab.alive()
        for machine in machines:
            if not lab.processes(machine, "ray"):
                lab.network.heal(machine)  # the link of a machine that was killed silently is cut
                lab.start(machine)
        time.sleep(1)
