"""Faults of machines, cables and heads, on the cluster of tests/multinode: a training of two ranks that is struck again
and again, and then held against one that nobody disturbed.
"""

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
from tests.faults.processes import SIZE
from tests.multinode.lab import Job, Lab
from tests.multinode.network import possible
from tests.multinode.training import submit
from tests.ranks import run_ranks
from tests.training.trainings import go

WARM_UP = 15  # steps between two blows: at least one checkpoint
PATIENCE_S = 150.0


@functools.cache
def cluster() -> Lab:
    """Two workers and a spare that is off, for all drills of this process."""
    if possible():
        raise RuntimeError(possible())
    everything = contextlib.ExitStack()
    atexit.register(everything.close)
    folder = Path(everything.enter_context(tempfile.TemporaryDirectory(prefix="cgdlab", dir="/tmp")))
    make_dataset(folder)
    return everything.enter_context(Lab(folder, workers=2, spare=1))


class Struck:
    """A training that is struck.

    Attributes:
        lab: where it runs.
        config: its run.
        job: that trains.
        faults: the blows so far, as the drill's faults.
    """

    def __init__(self, lab: Lab, name: str, **changes: Any):
        self.lab = lab
        options = {**SIZE, "schedule__n_epochs": 100000, "data__path": str(lab.folder / "out"), **changes}
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

    def wait(self, reached: Callable[[dict[str, Any]], bool], timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """The last step as soon as it is what is waited for."""
        limit = time.monotonic() + timeout_s
        while not reached(last := self.last):
            if time.monotonic() > limit:
                raise TimeoutError(f"still at {last} after {timeout_s:.0f} s: {self.job.logs()[-2000:]}")
            time.sleep(0.3)
        return last

    def warm_up(self) -> None:
        """Let it train undisturbed for a while."""
        step = self.last["step"]
        self.wait(lambda last: last["step"] >= step + WARM_UP)

    @contextmanager
    def blow(self) -> Iterator[None]:
        """What happens in the block is a fault; it ends when training goes on, with these ranks or others."""
        last = self.last
        number = len(self.faults)
        self.faults.append(Fault(number=number, kind="node", step=last["step"]))
        facts = {"time": time.time(), "step": last["step"], "attempt": last["attempt"], "host": ""}
        record_path(self.config.run_dir / FOLDER, number).write_text(json.dumps(facts))
        yield
        moment = facts["time"]
        # New ranks, or these after a pause.
        self.wait(lambda now: now["attempt"] != last["attempt"] or (now["time"] > moment + 8 and _went_on(self)))

    def resubmit(self) -> None:
        """Give the same command again."""
        self.job = submit(self.lab, self.config)

    def rank_machines(self) -> list[str]:
        """Where ranks are."""
        return [machine for machine in self.lab.workers if self.lab.processes(machine, "TrainWorker")]

    def finish(self) -> tuple[list[Cost], Comparison]:
        """Stop it with a checkpoint, and train as many steps undisturbed."""
        self.lab.stop(self.job)
        self.job.ended()
        images = self.last["step"] * self.config.optim.batch_size
        name = f"{self.config.name}-undisturbed"
        undisturbed = make_run(self.lab.folder, name=name, **{**self.options, "stop_after": images})
        run_ranks(lambda world: go(undisturbed, world), 2, timeout_s=900)
        return costs(self.config.run_dir, self.faults), compare(self.config, undisturbed)

    def pause_s(self, cost: Cost) -> float:
        """The longest time without a step around a blow."""
        moment = json.loads(record_path(self.config.run_dir / FOLDER, cost.fault.number).read_text())["time"]
        times = [s["time"] for s in read_steps(self.config.run_dir) if moment - 2 < s["time"] < moment + 60]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)

    def writer(self) -> str:
        """The attempt that wrote the newest checkpoint."""
        newest = max(self.config.run_dir.glob("checkpoints/step-*/manifest.json"))
        return json.loads(newest.read_text())["checkpoint"]["attempt"]


def _went_on(struck: Struck) -> bool:
    return time.time() - struck.last["time"] < 1


def all_on(lab: Lab, machines: tuple[str, ...]) -> None:
    """Switch on what is off, and wait until the head knows. One that gives up is started again, as a supervisor does."""
    limit = time.monotonic() + 120
    while not set(machines) <= set(lab.alive()):
        assert time.monotonic() < limit, lab.alive()
        for machine in machines:
            if not lab.processes(machine, "ray"):
                lab.network.heal(machine)  # one that went silently has its cable cut
                lab.start(machine)
        time.sleep(1)
