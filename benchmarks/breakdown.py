"""Profile of a training step: time by kind of operation, and the share of the device's peak rate.

    python -m benchmarks.breakdown [--size 128 --ngf 32 --n_blocks 6 --batch 1 --steps 5]

The rate of a step comes from its counted floating-point operations; the peak rate is that of a product of square
matrices, measured before and after the steps. torch.profiler records separate steps, because profiling slows them down.
The step is that of `optim.fast off`; `benchmarks.gpu` has the kernels of `on`.
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

from benchmarks.machine import environment
from benchmarks.step_bench import Bench, Workload
from cyclegan_dist.errors import run_command
from cyclegan_dist.step.update import Step

# Kind of operation by a substring of its name or of a caller's name; the first match counts.
KINDS = {
    "Optimizer.step": "Adam",
    "convolution_backward": "convolutions, backward",
    "SliceBackward": "convolutions, backward",  # of the last layer, which is computed row by row
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
    "AccumulateGrad": "gradient sums",
    "_foreach_norm": "finite check",
    "linalg_vector_norm": "finite check",
}
OTHER = "other"
SIDE = 2048  # rows and columns of the square matrices
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class Breakdown(Workload):
    """Options of the profile."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the step and of the matrices."""


def kind(names: list[str]) -> str:
    """Kind of an operation, from its name and its callers' names."""
    return next((KINDS[part] for part in KINDS if any(part in name for name in names)), OTHER)


def breakdown(events: list[FunctionEvent], device: str) -> Counter[str]:
    """Microseconds on the device, cpu or cuda, by kind of operation; nested operations are counted once."""
    found: Counter[str] = Counter()
    for event in events:
        if event.device_type.name != "CPU":  # GPU time is attributed to the operation that launched the kernel
            continue
        names, caller = [event.name], event.cpu_parent
        while caller is not None:
            names.append(caller.name)
            caller = caller.cpu_parent
        found[kind(names)] += event.self_cpu_time_total if device == "cpu" else event.self_device_time_total
    return found


def matrix_rate(bench: Bench, dtype: torch.dtype, products: int = 5) -> float:
    """Floating-point operations per second of a product of two square matrices."""
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
    """Floating-point operations per step and per second."""
    with FlopCounterMode(display=False) as counter:
        bench.update(step)
    seconds = [bench.timed(step, 1)[1] for _ in range(steps)]
    return counter.get_total_flops(), counter.get_total_flops() / statistics.median(seconds)


def main(options: Breakdown) -> None:
    """Measure and print."""
    torch.set_num_threads(options.threads)
    print(environment())
    bench, dtype = Bench(options), DTYPES[options.precision]
    step = bench.project(precision=options.precision, fast="off")  # a CUDA graph has no operations
    before = matrix_rate(bench, dtype)
    flops, rate = step_rate(bench, step, options.steps)
    peak = (before + matrix_rate(bench, dtype)) / 2
    print(
        f"A step has {flops / 1e9:.3g} GFLOP and runs at {rate / 1e9:.3g} GFLOP/s: {rate / peak:.0%} of the "
        f"{peak / 1e9:.3g} GFLOP/s of a {SIDE} x {SIDE} matrix product.\n"
    )
    with profile() as profiler:
        for _ in range(options.steps):
            bench.update(step)
    found = breakdown(list(profiler.events() or []), bench.device.type)
    print("| operations | share of a step |\n|---|---|")
    for name, microseconds in found.most_common():
        print(f"| {name} | {microseconds / found.total():.1%} |")


if __name__ == "__main__":
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # otherwise Kineto warns that there is no GPU
    run_command(
        lambda: main(
            tyro.cli(Breakdown, prog="python -m benchmarks.breakdown", description=__doc__, use_underscores=True)
        )
    )
