"""The update of every player against the yardstick, on the same weights and images, in one run.

    python -m benchmarks.step [--size 128 --ngf 32 --n_blocks 6 --batch 1 --rounds 5]

First that both compute the same losses, or a ratio would mean nothing. Then in turns the yardstick, the project's step
as it is by default, each of its options alone, and those of `--together` at once. Also how far the losses of a first
step are from those of the default, and, of each option alone, that step's seconds with nothing in the compiler's cache:
what the process has compiled already serves those together.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import tyro
from torch import Tensor
from torch._inductor.utils import fresh_cache

from benchmarks.machine import circumstances
from benchmarks.reference_step import ReferenceStep
from benchmarks.rounds import alternate, ratios, with_quartiles
from benchmarks.step_bench import Bench, Workload
from cyclegan_dist.errors import run_command
from cyclegan_dist.step.update import Step

YARDSTICK, PROJECT = "yardstick", "project, defaults"
Option = Literal["fused", "channels_last", "bf16", "compile"]
OPTIONS: dict[Option, dict[str, Any]] = {
    "fused": {"fused": True},
    "channels_last": {"channels_last": True},
    "bf16": {"precision": "bf16"},
    "compile": {"compile": True},
}
AGREEING_STEPS, AGREEING_SIZE, AGREEMENT = 3, 32, 1e-9


@dataclass(frozen=True, kw_only=True)
class Measurement(Workload):
    """What to measure."""

    rounds: int = 5
    """Rounds that count."""
    options: tuple[Option, ...] = tuple(OPTIONS)
    """Which of them to try alone."""
    together: tuple[Option, ...] = ()
    """Which of them to try together."""


def difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The largest of any loss, relative; infinite where one is not finite."""
    each = (abs(float(ours[name]) - float(theirs[name])) / abs(float(theirs[name])) for name in theirs)
    return max(value if math.isfinite(value) else math.inf for value in each)


def disagreement(what: Workload, lr_of_theirs: float = 1.0) -> float:
    """Of our losses and the yardstick's over the first steps, on small images and in double precision: in single,
    rounding alone makes a hundredth of difference within five steps.
    """
    bench = Bench(dataclasses.replace(what, size=AGREEING_SIZE), torch.float64)
    ours, theirs = bench.project(precision="fp64"), bench.yardstick()
    theirs.networks.double()
    for group in theirs.optimizer_G.param_groups:
        group["lr"] *= lr_of_theirs
    return max(difference(bench.play(ours), bench.play(theirs)) for _ in range(AGREEING_STEPS))


def main(what: Measurement) -> None:
    """Measure and print.

    Raises:
        RuntimeError: if the yardstick and the project compute different losses.
    """
    torch.set_num_threads(what.threads)
    print(circumstances())
    worst = disagreement(what)
    if worst > AGREEMENT:
        raise RuntimeError(f"losses differ from the yardstick's by {worst:.0e}: their speeds cannot be compared")
    print(f"All losses of the first {AGREEING_STEPS} steps agree with the yardstick's to {worst:.0e} (fp64).\n")
    bench = Bench(what)
    steps: dict[str, Step | ReferenceStep] = {YARDSTICK: bench.yardstick(), PROJECT: bench.project()}
    expected = bench.play(steps[PROJECT])
    firsts: dict[str, str] = {}
    for option in what.options:
        steps[option] = bench.project(**OPTIONS[option])
        with fresh_cache():
            losses, seconds = bench.timed(steps[option], 1)
        firsts[option] = f"{seconds:.1f} s | {difference(losses, expected):.0e}"
    if what.together:
        name = " + ".join(what.together)
        steps[name] = bench.project(**{k: v for option in what.together for k, v in OPTIONS[option].items()})
        firsts[name] = f" | {difference(bench.play(steps[name]), expected):.0e}"
    figures = alternate({name: bench.images_per_s(step) for name, step in steps.items()}, what.rounds)
    print("| step | images/s (quartiles) | times the yardstick (quartiles) | first step | its losses differ by |")
    print("|---|---|---|---|---|")
    for name, values in figures.items():
        times = with_quartiles(ratios(figures, name, YARDSTICK), ".2f")
        print(f"| {name} | {with_quartiles(values)} | {times} | {firsts.get(name, ' | ')} |")


if __name__ == "__main__":
    run_command(
        lambda: main(tyro.cli(Measurement, prog="python -m benchmarks.step", description=__doc__, use_underscores=True))
    )
