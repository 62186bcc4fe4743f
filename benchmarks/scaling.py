"""How throughput grows with ranks: measured on this machine, and predicted for others.

    python -m benchmarks.scaling [--rounds 5]
    python -m benchmarks.scaling --predict [--picture docs/scaling.png]

Measured: real trainings by the command line, in turns, with one thread and `micro_batch` images a rank, seconds of a
step by the clock on the wall; beside them what the model in `benchmarks.cost_model` says for this machine's link.
Predicted: the paper's experiment in bf16 on 8 to 1,024 GPUs.
"""

import itertools
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.cost_model import Link, Machine, Work, count
from benchmarks.exchange import measure_link, wrapping_costs
from benchmarks.machine import circumstances
from benchmarks.prediction import draw, predict
from benchmarks.rounds import alternate, ratio
from benchmarks.runs import Arrangement, run, step_s
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.methods.config import CycleGANConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig

POINTS = 5  # of the journal, between which steps are timed
ONE = "one process, 1 rank"
TWO, TWO_BY_RAY = "torchrun, 2 ranks", "Ray Train, 2 ranks"
ARRANGEMENTS = {
    ONE: Arrangement("one process", 1),
    TWO: Arrangement("torchrun", 2),
    TWO_BY_RAY: Arrangement("Ray Train", 2),
    "torchrun, 4 ranks": Arrangement("torchrun", 4),
    "one process, with MLflow": Arrangement("one process", 1, {"tracking.mlflow": True}),
    "one process, a checkpoint every 5 steps": Arrangement("one process", 1, {"every.checkpoint": 20}),
}


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What to measure, or what to predict."""

    predict: bool = False
    """Do not measure; predict."""
    picture: Path = Path("docs/scaling.png")
    """Where the prediction is drawn."""
    rounds: int = 5
    """Rounds that count."""
    trainings: int = len(ARRANGEMENTS)
    """How many of them: one rank, two by torchrun, two by Ray Train, four, with MLflow, with checkpoints."""
    steps: int = 15
    """Steps of each training."""
    size: int = 64
    """Pixels of the images' sides."""
    ngf: int = 32
    """Channels of the first convolutions."""
    n_blocks: int = 3
    """Residual blocks."""
    micro_batch: int = 4
    """Images per domain and rank."""

    def __post_init__(self) -> None:
        if self.steps < 3 * POINTS:
            raise UsageError(f"{self.steps} steps are too few to time: give at least {3 * POINTS}")

    @property
    def method(self) -> CycleGANConfig:
        """Networks of that size."""
        generator = GeneratorConfig(ngf=self.ngf, n_blocks=self.n_blocks)
        return CycleGANConfig(generator=generator, discriminator=DiscriminatorConfig(ndf=self.ngf))


def measure(what: Scaling) -> None:
    """Train in every arrangement, in turns, and print a table."""
    print(circumstances("ray"))
    with tempfile.TemporaryDirectory(prefix="scaling") as folder:
        works = {
            name: _training(what, Path(folder), arrangement)
            for name, arrangement in list(ARRANGEMENTS.items())[: what.trainings]
        }
        seconds = alternate(works, what.rounds, warm_up=False)
    links = {ranks: measure_link(ranks) for ranks in (2, 4)}
    works_of_a_step = count(what.method, what.size, what.micro_batch)
    print("| training | ms a step | times one rank's throughput | by the model |\n|---|---|---|---|")
    for name, values in seconds.items():
        ranks = ARRANGEMENTS[name].ranks
        gain = ranks / ratio(seconds, name, ONE)
        model = _modelled(works_of_a_step, statistics.median(seconds[ONE]), ranks, links) if ranks > 1 else ""
        print(f"| {name} | {1000 * statistics.median(values):.1f} | {gain:.2f} | {model} |")
    if TWO_BY_RAY in seconds:
        by_ray = ratio(seconds, TWO_BY_RAY, TWO)
        print(f"\nRay Train against torchrun, 2 ranks: {100 * (by_ray - 1):+.1f} % of a step.")
    wrapped = wrapping_costs(what.method, what.size, what.micro_batch, rounds=15)
    print(f"DistributedDataParallel in a group of one against none: {100 * (wrapped - 1):+.1f} %.")
    for ranks, link in links.items():
        print(f"gloo, {ranks} ranks: {link.bytes_per_s / 1e9:.2f} GB/s, {1e6 * link.latency_s:.0f} us a message.")


def _training(what: Scaling, folder: Path, arrangement: Arrangement) -> Callable[[], float]:
    """A work for `alternate`: a new training, seconds of its step."""
    batch = what.micro_batch * arrangement.ranks
    options: dict[str, Any] = {
        "optim.batch_size": batch,
        "data.workers": 0,  # with as many ranks as cores they would take the cores of other ranks
        "data.load_size": what.size,
        "data.crop_size": what.size,
        "method.generator.ngf": what.ngf,
        "method.generator.n_blocks": what.n_blocks,
        "method.discriminator.ndf": what.ngf,
        "method.discriminator.n_layers_D": 3,
        "schedule.n_epochs": 1000,
        "world.threads": 1,
        "every.log": what.steps // POINTS * batch,
        "every.samples": 0,
        "every.snapshot": 0,
        "every.checkpoint": 0,
        "tracking.mlflow": False,
        "stop_after": what.steps * batch,
    }
    numbers = itertools.count()
    return lambda: step_s(run(folder, arrangement, "demo", f"{next(numbers)}-of-{id(arrangement)}", options))


def _modelled(works: dict[str, Work], one_s: float, ranks: int, links: dict[int, Link]) -> str:
    """Throughput on this machine by the model: gloo takes the same cores, so it hides nothing, and more ranks than
    cores compute in turns.
    """
    flops = sum(work.flops for work in works.values())
    turns = max(1.0, ranks / (os.cpu_count() or 1))
    machine = Machine(flops / one_s / turns, links[ranks], overlap=0.0)
    return f"{ranks / turns * machine.efficiency(works, ranks):.2f}"


def main(what: Scaling) -> None:
    """Measure or predict."""
    torch.set_num_threads(1)
    if what.predict:
        print(circumstances())
        draw(predict(), what.picture)
    else:
        measure(what)


if __name__ == "__main__":
    run_command(lambda: main(tyro.cli(Scaling, prog="python -m benchmarks.scaling", description=__doc__)))
