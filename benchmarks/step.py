"""The update of every player against the yardstick, on the same weights and images, in one run.

    python -m benchmarks.step [--size 128 --ngf 32 --n_blocks 6 --batch 1 --rounds 5]

First that both compute the same losses, or a ratio would mean nothing. Then the yardstick, the project's step as it is
by default, each of its options alone and all that pay together, in turns; medians, and the median of the ratios of
neighbours.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import tyro
from torch import Tensor

from benchmarks.machine import circumstances
from benchmarks.reference_step import ReferenceStep
from benchmarks.rounds import alternate, ratio, spread
from cyclegan_dist.dist import World
from cyclegan_dist.errors import run_command
from cyclegan_dist.methods.config import CycleGANConfig
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.update import Step

YARDSTICK, PROJECT = "yardstick", "project, defaults"
Option = Literal["fused", "channels_last", "bf16", "compile"]
OPTIONS: dict[Option, dict[str, Any]] = {
    "fused": {"fused": True},
    "channels_last": {"channels_last": True},
    "bf16": {"precision": "bf16"},
    "compile": {"compile": True},
}
AGREEING_STEPS, AGREEING_SIZE = 3, 32


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a step computes."""

    size: int = 128
    """Pixels of the images' sides."""
    ngf: int = 32
    """Channels of the generators' first convolution; the discriminators have as many."""
    n_blocks: int = 6
    """Residual blocks."""
    batch: int = 1
    """Images per domain and step."""
    steps: int = 5
    """Steps that are timed together."""
    threads: int = 1
    """Of torch."""


@dataclass(frozen=True, kw_only=True)
class Measurement(Workload):
    """What to measure."""

    rounds: int = 5
    """Rounds that count."""
    options: tuple[Option, ...] = tuple(OPTIONS)
    """Which of them to try alone."""
    together: tuple[Option, ...] = ()
    """Which of them to try together."""


class Bench:
    """Steps on images that lie ready on the device."""

    def __init__(self, what: Workload, dtype: torch.dtype = torch.float32):
        self.what = what
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        rng = torch.Generator().manual_seed(0)
        size = (what.batch, 3, what.size, what.size)
        self.images = {f"real_{d}": (torch.rand(size, generator=rng) * 2 - 1).to(self.device, dtype) for d in "AB"}

    def project(self, **options: Any) -> Step:
        """Our step with these options of `OptimConfig`."""
        what = self.what
        torch.manual_seed(0)
        method = CycleGANConfig(
            generator=GeneratorConfig(ngf=what.ngf, n_blocks=what.n_blocks),
            discriminator=DiscriminatorConfig(ndf=what.ngf),
        )
        return Step(CycleGAN(method), OptimConfig(batch_size=what.batch, **options), World(0, 1, self.device))

    def yardstick(self) -> ReferenceStep:
        """The yardstick with the same weights."""
        what = self.what
        step = ReferenceStep(what.ngf, what.n_blocks, what.ngf, device=str(self.device))
        step.networks.load_state_dict(self.project().method.networks.state_dict())
        return step

    def play(self, step: Step | ReferenceStep) -> Mapping[str, Tensor]:
        """One update."""
        if isinstance(step, ReferenceStep):
            return step(**self.images)
        layout = step.memory_format
        return step([{name: x.contiguous(memory_format=layout) for name, x in self.images.items()}], 2e-4)

    def timed(self, step: Step | ReferenceStep, steps: int) -> float:
        """Seconds of so many steps."""
        self.synchronise()
        began = time.perf_counter()
        for _ in range(steps):
            self.play(step)
        self.synchronise()
        return time.perf_counter() - began

    def synchronise(self) -> None:
        """Wait until a GPU has done all that it was asked for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def images_per_s(self, step: Step | ReferenceStep) -> Callable[[], float]:
        """A work for `alternate`: images of each domain a second."""
        return lambda: self.what.steps * self.what.batch / self.timed(step, self.what.steps)


def disagreement(what: Workload, lr_of_theirs: float = 1.0) -> float:
    """The largest relative difference of any loss over the first steps, on small images and in double precision: in
    single, rounding alone makes a hundredth of difference within five steps.
    """
    bench, worst = Bench(dataclasses.replace(what, size=AGREEING_SIZE), torch.float64), 0.0
    ours, theirs = bench.project(precision="fp64"), bench.yardstick()
    theirs.networks.double()
    for group in theirs.optimizer_G.param_groups:
        group["lr"] *= lr_of_theirs
    for _ in range(AGREEING_STEPS):
        mine, yours = bench.play(ours), bench.play(theirs)
        worst = max(worst, *(abs(float(mine[name] - yours[name])) / abs(float(yours[name])) for name in yours))
    return worst


def main(what: Measurement) -> None:
    """Measure and print."""
    torch.set_num_threads(what.threads)
    bench = Bench(what)
    ours, theirs = bench.project(), bench.yardstick()
    print(circumstances())
    worst = disagreement(what)
    print(f"All losses of the first {AGREEING_STEPS} steps agree with the yardstick's to {worst:.0e} (fp64).\n")
    tried = {name: OPTIONS[name] for name in what.options}
    if what.together:
        tried[" + ".join(what.together)] = {k: v for name in what.together for k, v in OPTIONS[name].items()}
    steps: dict[str, Step | ReferenceStep] = {YARDSTICK: theirs, PROJECT: ours}
    first_s = {}
    for name, options in tried.items():
        steps[name] = bench.project(**options)
        first_s[name] = bench.timed(steps[name], 1)
    figures = alternate({name: bench.images_per_s(step) for name, step in steps.items()}, what.rounds)
    print("| step | images/s (quartiles) | times the yardstick | first step |\n|---|---|---|---|")
    for name, values in figures.items():
        lower, upper = spread(values)
        median, times = statistics.median(values), ratio(figures, name, YARDSTICK)
        first = f"{first_s[name]:.1f} s" if name in first_s else ""
        print(f"| {name} | {median:.3g} ({lower:.3g} - {upper:.3g}) | {times:.2f} | {first} |")


if __name__ == "__main__":
    run_command(
        lambda: main(tyro.cli(Measurement, prog="python -m benchmarks.step", description=__doc__, use_underscores=True))
    )
