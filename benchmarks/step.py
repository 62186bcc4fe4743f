"""Benchmark of a training step against the baseline, on the same weights and images.

    python -m benchmarks.step [--size 128 --ngf 32 --n_blocks 6 --batch 1 --rounds 5]

First, both must compute the same losses; otherwise a ratio of their speeds is meaningless. Then, in alternating rounds:
the baseline, the project's step with its defaults, with each option alone, and with all options of `--together`. The
table also contains the time of the first step, and the difference between its losses and those of the defaults.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import torch
import tyro

from benchmarks.machine import environment
from benchmarks.reference_step import ReferenceStep
from benchmarks.rounds import alternate, ratios, with_quartiles
from benchmarks.step_bench import Bench, Workload, loss_difference
from cyclegan_dist.errors import run_command
from cyclegan_dist.step.update import Step

BASELINE, PROJECT = "baseline", "project, defaults"
Option = Literal["fast", "bf16"]
OPTIONS: dict[Option, dict[str, Any]] = {
    "fast": {"fast": "on"},
    "bf16": {"precision": "bf16"},
}
CHECKED_STEPS, CHECKED_SIZE, TOLERANCE = 3, 32, 1e-9


@dataclass(frozen=True, kw_only=True)
class Measurement(Workload):
    """Options of the benchmark."""

    rounds: int = 5
    """Timed rounds, after one to warm up."""
    options: tuple[Option, ...] = tuple(OPTIONS)
    """Options to measure alone."""
    together: tuple[Option, ...] = ()
    """Options to measure together."""


def difference_from_baseline(workload: Workload, baseline_lr_factor: float = 1.0) -> float:
    """The largest relative difference between the project's losses and the baseline's in the first steps.

    Small images in double precision: in single precision, rounding alone causes 1 % of difference within five steps.
    """
    bench = Bench(dataclasses.replace(workload, size=CHECKED_SIZE), torch.float64)
    project, baseline = bench.project(precision="fp64"), bench.baseline()
    baseline.networks.double()
    for group in baseline.optimizer_G.param_groups:
        group["lr"] *= baseline_lr_factor
    return max(loss_difference(bench.update(project), bench.update(baseline)) for _ in range(CHECKED_STEPS))


def main(options: Measurement) -> None:
    """Measure and print.

    Raises:
        RuntimeError: if the baseline and the project compute different losses.
    """
    torch.set_num_threads(options.threads)
    print(environment())
    worst = difference_from_baseline(options)
    if worst > TOLERANCE:
        raise RuntimeError(f"losses differ from the baseline's by {worst:.0e}: their speeds cannot be compared")
    print(f"All losses of the first {CHECKED_STEPS} steps agree with the baseline's to {worst:.0e} (fp64).\n")
    bench = Bench(options)
    steps: dict[str, Step | ReferenceStep] = {BASELINE: bench.baseline(), PROJECT: bench.project()}
    expected = bench.update(steps[PROJECT])
    firsts: dict[str, str] = {}
    for option in options.options:
        steps[option] = bench.project(**OPTIONS[option])
        losses, seconds = bench.timed(steps[option], 1)
        firsts[option] = f"{seconds:.1f} s | {loss_difference(losses, expected):.0e}"
    if options.together:
        name = " + ".join(options.together)
        steps[name] = bench.project(**{k: v for option in options.together for k, v in OPTIONS[option].items()})
        firsts[name] = f" | {loss_difference(bench.update(steps[name]), expected):.0e}"
    figures = alternate({name: bench.images_per_s(step) for name, step in steps.items()}, options.rounds)
    print("| step | images/s (quartiles) | speed-up over baseline (quartiles) | first step | loss difference |")
    print("|---|---|---|---|---|")
    for name, values in figures.items():
        times = with_quartiles(ratios(figures, name, BASELINE), ".2f")
        print(f"| {name} | {with_quartiles(values)} | {times} | {firsts.get(name, ' | ')} |")


if __name__ == "__main__":
    run_command(
        lambda: main(tyro.cli(Measurement, prog="python -m benchmarks.step", description=__doc__, use_underscores=True))
    )
