"""Scaling of throughput with the number of ranks on this machine.

    python -m benchmarks.scaling [--rounds 5]

Real trainings from the command line, in alternating rounds, with one thread and `micro_batch` images per rank;
wall-clock time per step, next to what the measured gradient exchange alone would leave. `pipelines.plan` computes the
same for other machines.
"""

import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.exchange import run_group, wrapping_costs
from benchmarks.machine import environment
from benchmarks.rounds import alternate, ratios, with_quartiles
from benchmarks.scaling_trainings import COSTS, POINTS, TITLES, Training, launch_setup, timed
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.operations.sizing.link import Link, measure_link
from cyclegan_dist.step.distributed import join


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Options of the measurement."""

    rounds: int = 5
    """Rounds to measure."""
    trainings: tuple[Training, ...] = tuple(TITLES)
    """Trainings to measure; `one` is always included, and first."""
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
        """The method with networks of this size."""
        generator = GeneratorConfig(ngf=self.ngf, n_blocks=self.n_blocks)
        return CycleGANConfig(generator=generator, discriminator=DiscriminatorConfig(ndf=self.ngf))

    @property
    def options(self) -> dict[str, Any]:
        """Command-line options for the same networks and images."""
        return {
            "data.load_size": self.size,
            "data.crop_size": self.size,
            "method.generator.ngf": self.ngf,
            "method.generator.n_blocks": self.n_blocks,
            "method.discriminator.ndf": self.ngf,
        }


def measure(what: Scaling) -> None:
    """Run the trainings in alternating rounds, and print tables."""
    print(environment("ray"))
    chosen: list[Training] = ["one", *(name for name in what.trainings if name != "one")]
    with tempfile.TemporaryDirectory(prefix="scaling") as folder:
        candidates = {name: timed(name, Path(folder), what.options, what.micro_batch, what.steps) for name in chosen}
        seconds = alternate(candidates, what.rounds, warm_up=False)
    links = {ranks: run_group(_link, ranks) for ranks in (2, 4)}
    weights = sum(p.numel() for p in what.method.build(rank_seed=0).networks.parameters())
    print("| training | ms per step (quartiles) | speed-up over one rank (quartiles) | limit by the exchange |")
    print("|---|---|---|---|")
    for name in chosen:
        ranks = launch_setup(name, what.micro_batch).ranks
        gains = with_quartiles([ranks * times for times in ratios(seconds, "one", name)], ".2f")
        one_s = statistics.median(seconds["one"])
        limit = (
            f"{exchange_limit(one_s, links[ranks].all_reduce_s(4 * weights, ranks), ranks):.2f}" if ranks > 1 else ""
        )
        milliseconds = with_quartiles([1000 * value for value in seconds[name]], ".0f")
        print(f"| {TITLES[name]} | {milliseconds} | {gains} | {limit} |")
    print("\n| training | compared with | overhead per step, % (quartiles) |\n|---|---|---|")
    for name, base in COSTS:
        if name in seconds and base in seconds:
            overhead = [100 * (times - 1) for times in ratios(seconds, name, base)]
            print(f"| {TITLES[name]} | {TITLES[base]} | {with_quartiles(overhead, '+.1f')} |")
    wrapped = [100 * (times - 1) for times in wrapping_costs(what.method, what.size, what.micro_batch, rounds=15)]
    print(f"| DistributedDataParallel in a group of one | no wrapper | {with_quartiles(wrapped, '+.1f')} |\n")
    for ranks, link in links.items():
        print(f"gloo, {ranks} ranks: {link.bytes_per_s / 1e9:.2f} GB/s, {1e6 * link.latency_s:.0f} us per message.")


def _link(rank: int) -> Link:
    return measure_link(join("cpu"))


def exchange_limit(one_s: float, exchange_s: float, ranks: int) -> float:
    """Speed-up over one rank if nothing but the exchange took time. gloo runs on the same cores, so nothing overlaps;
    ranks in excess of the cores take turns.
    """
    turns = max(1.0, ranks / (os.cpu_count() or 1))
    return ranks / turns * one_s / (one_s + exchange_s / turns)


def main(what: Scaling) -> None:
    """Measure."""
    torch.set_num_threads(1)
    measure(what)


if __name__ == "__main__":
    run_command(lambda: main(tyro.cli(Scaling, prog="python -m benchmarks.scaling", description=__doc__)))
