"""A training of tiny networks on the simulated cluster whose ranks, raylets and nodes are killed."""

import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import psutil

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.drill.measure import read_steps
from cyclegan_dist.operations.drill.plan import write_plan
from cyclegan_dist.step.world_config import STANDBY
from cyclegan_dist.tracking.journal import JOURNAL, read_records
from tests.conftest import make_run
from tests.multinode.lab import DRIVER, HEAD, Job, Lab
from tests.multinode.training import submit

Kind = Literal["rank", "raylet", "power"]
KINDS: tuple[Kind, ...] = get_args(Kind)
INTERVAL = 10  # steps between two checkpoints
LIMIT_S = 600.0
# A raylet gives its idle workers this title; after a first start in advance, they are the standby processes.
IDLE, RANK = "ray::IDLE", "TrainWorker"
LOADED_CPU_S = 2.5  # less than what a standby process computes while it loads, more than other idle workers
POLL_S, IDLE_CPU_S = 3.0, 0.1  # seconds between two looks, and CPU seconds between them of a process that is idle


class Training:
    """A job with as many ranks as given, which records each step.

    Args:
        lab: cluster that it runs on, with a data set in `out`.
        name: of the run.
        ranks: number of ranks; each has one image of a batch.
        standby: whether there are standby processes.
    """

    def __init__(self, lab: Lab, name: str, ranks: int, *, standby: bool = True):
        self.lab, self.ranks = lab, ranks
        options: dict[str, Any] = {
            "data__path": str(lab.folder / "out"),
            "optim__batch_size": ranks,
            "every__checkpoint": INTERVAL * ranks,
            "every__log": INTERVAL * ranks,
            "schedule__n_epochs": 10**6,
            "world__num_workers": ranks,
            "world__timeout_s": 60.0,
        }
        self.config: Config = make_run(lab.folder, name=name, **options)
        write_plan(self.config.run_dir, [])  # without faults of its own; it records the steps
        self.job: Job = submit(lab, self.config, {STANDBY: str(int(standby))})

    @property
    def steps(self) -> list[dict[str, Any]]:
        """All steps so far: step, time, attempt."""
        return read_steps(self.config.run_dir)

    def wait_for(self, reached: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Wait until `reached` holds for the steps so far."""
        limit = time.monotonic() + LIMIT_S
        while not reached(self.steps):
            if time.monotonic() > limit or self.job.status not in ("PENDING", "RUNNING"):
                raise TimeoutError(f"at {self.steps[-1:]}, the job is {self.job.status}: {self.job.logs()[-2000:]}")
            time.sleep(1)

    def wait_for_steps(self, count: int) -> None:
        """Wait until the present attempt has done `count` steps."""
        self.wait_for(lambda steps: sum(step["attempt"] == steps[-1]["attempt"] for step in steps) >= count)

    def wait_for_standby(self) -> None:
        """Wait until as many standby processes as ranks have loaded their modules, and compute no more."""
        spent: dict[int, float] = {}
        limit = time.monotonic() + LIMIT_S
        while time.monotonic() < limit:
            now = self.cpu_s(self.lab.workers, IDLE)
            loaded = [pid for pid, cpu in now.items() if cpu > LOADED_CPU_S and cpu - spent.get(pid, 0) < IDLE_CPU_S]
            if len(loaded) >= self.ranks:
                return
            spent = now
            time.sleep(POLL_S)
        raise TimeoutError(f"{len(spent)} standby processes of {self.ranks} after {LIMIT_S:.0f} s")

    def kill(self, kind: Kind, draw: random.Random) -> tuple[float, str]:
        """Kill a random rank, or the raylet or all processes of a machine with a rank. Returns the time and machine."""
        machine = draw.choice([m for m in self.lab.workers if self.lab.processes(m, RANK)])
        ranks = self.lab.processes(machine, RANK)
        moment = time.time()
        match kind:
            case "rank":
                draw.choice(ranks).send_signal(signal.SIGKILL)
            case "raylet":
                self.lab.kill_raylet(machine)
            case "power":
                self.lab.kill(machine, silently=True)
        return moment, machine

    def cpu_s(self, machines: Iterable[str], name: str = "") -> dict[int, float]:
        """CPU seconds of the machines' processes with `name` in their command line, by process id."""
        return dict(_cpu_s(process) for machine in machines for process in self.lab.processes(machine, name))

    def central_cpu_s(self) -> dict[int, float]:
        """CPU seconds of processes of which there is one for all ranks: those of Ray's head, launcher, controller."""
        return self.cpu_s((HEAD, DRIVER))

    def detected(self, moment: float) -> float | None:
        """Seconds from `moment` until Ray Train's controller recorded a failure."""
        journal = [record for record, _ in read_records(self.config.run_dir / JOURNAL, 0)]
        times = [record["time"] / 1000 - moment for record in journal if record["kind"] == "failure"]
        return min((seconds for seconds in times if seconds > -0.1), default=None)

    def stop(self) -> None:
        """Stop the job, which writes a checkpoint."""
        self.lab.stop(self.job)
        self.job.ended(LIMIT_S)


def spent_s(before: dict[int, float], after: dict[int, float]) -> float:
    """CPU seconds between two measurements; processes that have ended between them are left out."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def load() -> float:
    """Processes that wait for a core or use one, of the whole machine, during the last minute."""
    return round(os.getloadavg()[0], 1)


def _cpu_s(process: psutil.Process) -> tuple[int, float]:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return process.pid, 0.0
    return process.pid, times.user + times.system


def median(values: Iterable[float | None]) -> float:
    """The median of those that are known."""
    return statistics.median(value for value in values if value is not None)
