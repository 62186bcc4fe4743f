"""What the time of a step goes to, and how far its arithmetic is from what the device can do.

    python -m benchmarks.breakdown [--size 128 --ngf 32 --n_blocks 6 --batch 1 --steps 5]

The rate of a step is that of its counted operations; the device's is that of a product of square matrices, measured
before and after the steps. The breakdown is torch.profiler's, of other steps than the timed ones.
"""

import os
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import torch
import tyro
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import circumstances
from benchmarks.step_bench import Bench, Workload
from cyclegan_dist.errors import run_command
from cyclegan_dist.step.update import Step

# What an operation belongs to, by a part of its name or of the name of one that it was called by; the first that fits.
KINDS = {
    "Optimizer.step": "Adam",
    "convolution_backward": "convolutions, backward",
    "SliceBackward": "convolutions, backward",  # of the last one, which is computed row by row
    "UnbindBackward": "convolutions, backward",
    "convolution": "convolutions, forward",
    "instance_norm": "instance norm",
    "group_norm": "instance norm",
    "norm_backward": "instance norm",
    "batch_norm": "instance norm",
    "pad2d": "padding",
    "threshold": "activations",
    "relu": "activations",
    "clamp_min": "activations",
    "tanh": "activations",
    "loss": "losses",
    "AccumulateGrad": "adding up gradients",
    "_foreach_norm": "looking for what is not finite",
    "linalg_vector_norm": "looking for what is not finite",
}
OTHER = "the rest"
SIDE = 2048  # of the square matrices
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Breakdown(Workload):
    """What to look at."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the step and of the matrices."""


def kind(names: list[str]) -> str:
    """Of an operation, by its name and those of all that called it."""
    return next((KINDS[part] for part in KINDS if any(part in name for name in names)), OTHER)


def breakdown(events: list[FunctionEvent], device: str) -> Counter[str]:
    """Microseconds of the device, cpu or cuda, by kind, each without those of operations within an operation."""
    found: Counter[str] = Counter()
    for event in events:
        if event.device_type.name != "CPU":  # what a GPU did is in the figures of the operation that asked for it
            continue
        names, caller = [event.name], event.cpu_parent
        while caller is not None:
            names.append(caller.name)
            caller = caller.cpu_parent
        found[kind(names)] += event.self_cpu_time_total if device == "cpu" else event.self_device_time_total
    return found


def matrix_rate(bench: Bench, dtype: torch.dtype, products: int = 5) -> float:
    """Operations a second of the product of two square matrices."""
    a = torch.randn(SIDE, SIDE, device=bench.device, dtype=dtype)
    product, seconds = torch.empty_like(a), []
    for _ in range(products + 1):
        bench.synchronise()
        began = time.perf_counter()
        torch.mm(a, a, out=product)
        bench.synchronise()
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 / statistics.median(seconds[1:])


def step_rate(bench: Bench, step: Step, steps: int) -> tuple[float, float]:
    """Operations in a step, and a second."""
    with FlopCounterMode(display=False) as counter:
        bench.play(step)
    seconds = [bench.timed(step, 1)[1] for _ in range(steps)]
    return counter.get_total_flops(), counter.get_total_flops() / statistics.median(seconds)


def main(what: Breakdown) -> None:
    """Measure and print."""
    torch.set_num_threads(what.threads)
    print(circumstances())
    bench, dtype = Bench(what), DTYPES[what.precision]
    step = bench.project(precision=what.precision)
    before = matrix_rate(bench, dtype)
    flops, rate = step_rate(bench, step, what.steps)
    peak = (before + matrix_rate(bench, dtype)) / 2
    print(
        f"A step is {flops / 1e9:.3g} GFLOP, computed at {rate / 1e9:.3g} GFLOP/s: {rate / peak:.0%} of the "
        f"{peak / 1e9:.3g} GFLOP/s of a product of {SIDE} x {SIDE} matrices.\n"
    )
    with profile() as profiler:
        for _ in range(what.steps):
            bench.play(step)
    found = breakdown(list(profiler.events() or []), bench.device.type)
    print("| what | share of a step |\n|---|---|")
    for name, microseconds in found.most_common():
        print(f"| {name} | {microseconds / found.total():.1%} |")


if __name__ == "__main__":
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # it would report that there is no GPU
    run_command(
        lambda: main(
            tyro.cli(Breakdown, prog="python -m benchmarks.breakdown", description=__doc__, use_underscores=True)
        )
    )
