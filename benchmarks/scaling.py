"""How throughput grows with ranks: measured on this machine, and predicted for others.

    python -m benchmarks.scaling [--rounds 5]
    python -m benchmarks.scaling --predict [--achieved 297] [--jitter 0.02] [--picture docs/scaling.png]

Measured: real trainings by the command line, in turns, with one thread and `micro_batch` images a rank, seconds of a
step by the clock on the wall; beside them what the model in `benchmarks.cost_model` says for this machine's link.
Predicted: the paper's experiment in bf16 on 8 to 1,024 GPUs.
"""

import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.cost_model import Link, Machine, Work, count
from benchmarks.exchange import measure_link, wrapping_costs
from benchmarks.machine import circumstances
from benchmarks.prediction import draw, predict
from benchmarks.rounds import alternate, ratios, with_quartiles
from benchmarks.scaling_trainings import COSTS, POINTS, TITLES, Training, arrangement, timed
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What to measure, or what to predict."""

    predict: bool = False
    """Do not measure; predict."""
    picture: Path = Path("docs/scaling.png")
    """Where the prediction is drawn."""
    achieved: float = 297.0
    """Predicted: TFLOP/s that a GPU reaches in a step. An assumption: 30 % of an H100's bf16 by its data sheet."""
    jitter: float = 0.02
    """Standard deviation of a rank's step, as a share of it."""
    rounds: int = 5
    """Rounds that count."""
    trainings: tuple[Training, ...] = tuple(TITLES)
    """Which to measure; `one` comes first in any case."""
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
        if self.achieved <= 0 or self.jitter < 0:
            raise UsageError(f"--achieved {self.achieved}: give it above 0; --jitter {self.jitter}: not below 0")

    @property
    def method(self) -> CycleGANConfig:
        """Networks of that size."""
        generator = GeneratorConfig(ngf=self.ngf, n_blocks=self.n_blocks)
        return CycleGANConfig(generator=generator, discriminator=DiscriminatorConfig(ndf=self.ngf))

    @property
    def options(self) -> dict[str, Any]:
        """Of the same networks and images on the command line."""
        return {
            "data.load_size": self.size,
            "data.crop_size": self.size,
            "method.generator.ngf": self.ngf,
            "method.generator.n_blocks": self.n_blocks,
            "method.discriminator.ndf": self.ngf,
        }


def measure(what: Scaling) -> None:
    """Train in every arrangement, in turns, and print tables."""
    print(circumstances("ray"))
    chosen: list[Training] = ["one", *(name for name in what.trainings if name != "one")]
    with tempfile.TemporaryDirectory(prefix="scaling") as folder:
        works = {name: timed(name, Path(folder), what.options, what.micro_batch, what.steps) for name in chosen}
        seconds = alternate(works, what.rounds, warm_up=False)
    links = {ranks: measure_link(ranks) for ranks in (2, 4)}
    work = count(what.method, what.size, what.micro_batch)
    print("| training | ms a step (quartiles) | times one rank's throughput (quartiles) | by the model |")
    print("|---|---|---|---|")
    for name in chosen:
        ranks = arrangement(name, what.micro_batch).ranks
        gains = with_quartiles([ranks * times for times in ratios(seconds, "one", name)], ".2f")
        one_s = statistics.median(seconds["one"])
        model = _modelled(work, one_s, what.jitter, links[ranks], ranks) if ranks > 1 else ""
        milliseconds = with_quartiles([1000 * value for value in seconds[name]], ".0f")
        print(f"| {TITLES[name]} | {milliseconds} | {gains} | {model} |")
    print("\n| training | against | % more a step (quartiles) |\n|---|---|---|")
    for name, base in COSTS:
        if name in seconds and base in seconds:
            more = [100 * (times - 1) for times in ratios(seconds, name, base)]
            print(f"| {TITLES[name]} | {TITLES[base]} | {with_quartiles(more, '+.1f')} |")
    wrapped = [100 * (times - 1) for times in wrapping_costs(what.method, what.size, what.micro_batch, rounds=15)]
    print(f"| DistributedDataParallel in a group of one | without | {with_quartiles(wrapped, '+.1f')} |\n")
    for ranks, link in links.items():
        print(f"gloo, {ranks} ranks: {link.bytes_per_s / 1e9:.2f} GB/s, {1e6 * link.latency_s:.0f} us a message.")


def _modelled(works: dict[str, Work], one_s: float, jitter: float, link: Link, ranks: int) -> str:
    """Throughput on this machine by the model: gloo takes the same cores, so it hides nothing, and more ranks than
    cores compute in turns.
    """
    flops = sum(work.flops for work in works.values())
    turns = max(1.0, ranks / (os.cpu_count() or 1))
    machine = Machine(flops / one_s / turns, link, overlap=0.0, jitter_s=jitter * one_s)
    return f"{ranks / turns * machine.efficiency(works, ranks):.2f}"


def main(what: Scaling) -> None:
    """Measure or predict."""
    torch.set_num_threads(1)
    if what.predict:
        print(circumstances())
        draw(predict(1e12 * what.achieved, what.jitter), what.picture)
    else:
        measure(what)


if __name__ == "__main__":
    run_command(lambda: main(tyro.cli(Scaling, prog="python -m benchmarks.scaling", description=__doc__)))
