"""Benchmark of training steps on one GPU: the published algorithm and the project's variants, at several batch sizes.

    python -m benchmarks.gpu [--json figures.json] [--batches 1 16 8 4] [--minutes 8.5]

Needs torch, torchvision and numpy only, and under 9 minutes on one H100. For each batch size all variants are timed in
alternating rounds, on the same images and from the same weights. "share" is the rate of the counted floating-point
operations of the published algorithm, relative to that of a bf16 matrix product measured in between. A step is "ready"
after its first update, and with `fast on` after the first replay of its graph; Triton's kernels are compiled at the
first batch size. torch keeps what cuDNN chose for a shape, measured or not, until the process ends; in the default
order the published algorithm, which measures, is the first to use its shapes. What does not fit into memory, fails or
is not reached in time is a cell that says so. The exit code is 1 if a variant failed, or if its losses are not those
that it should have.

On a CPU it runs with tiny sizes, where `fast on` runs the same update without a graph:

    python -m benchmarks.gpu --size 32 --ngf 4 --n_blocks 1 --batches 1 2 --steps 1
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_cells import FAILED, FAST, VARIANTS, Candidate, Cell, measure
from benchmarks.gpu_tables import details, kernels, summary, suspicious
from benchmarks.kernel_kinds import DeviceProfile, profiled
from benchmarks.machine import environment
from benchmarks.reference_step import ReferenceStep
from benchmarks.step_bench import Bench, Workload
from cyclegan_dist.errors import run_command

PROFILED_STEPS = 10
RESERVE_S = 25.0  # what is begun before the end of the time may take so long


@dataclass
class Figures:
    """All that was measured. `matrix_rates` are in FLOP/s, `flop` is per step and image pair."""

    machine: str
    workload: dict[str, Any]
    flop: int
    matrix_rates: list[float] = field(default_factory=list[float])
    cells: list[Cell] = field(default_factory=list[Cell])
    profiles: dict[int, DeviceProfile | str] = field(default_factory=dict[int, "DeviceProfile | str"])

    @property
    def matrix_rate(self) -> float:
        return statistics.median(self.matrix_rates)

    def write(self, path: Path) -> None:
        """Write everything as JSON, with the derived figures."""
        cells = [
            {**dataclasses.asdict(cell), **({"median_ms": statistics.median(cell.ms)} if cell.ms else {})}
            for cell in self.cells
        ]
        profiles = {
            batch: found if isinstance(found, str) else dataclasses.asdict(found)
            for batch, found in self.profiles.items()
        }
        data = {**dataclasses.asdict(self), "matrix_rate": self.matrix_rate, "cells": cells, "profiles": profiles}
        path.write_text(json.dumps(data, indent=1) + "\n")


def flop_per_pair(workload: Workload) -> int:
    """Floating-point operations of the published algorithm's step with one image of each domain, counted by torch
    without computing them.
    """
    step = ReferenceStep(workload.ngf, workload.n_blocks, workload.ngf, device="meta")
    image = torch.empty(1, 3, workload.size, workload.size, device="meta")
    with FlopCounterMode(display=False) as counter:
        step(image, image)
    return counter.get_total_flops()


def matrix_rate(device: torch.device, side: int) -> float:
    """Floating-point operations per second of a bf16 product of random square matrices."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    product, rates = torch.empty_like(a), list[float]()
    products = 20 if device.type == "cuda" else 1
    for _ in range(6):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(products):
            torch.mm(a, b, out=product)
        if device.type == "cuda":
            torch.cuda.synchronize()
        rates.append(2 * side**3 * products / (time.perf_counter() - began))
    return statistics.median(rates[1:])


def run(options: argparse.Namespace) -> int:
    """Measure, print as Markdown, and write JSON. Returns the exit code."""
    began = time.monotonic()

    def in_time() -> bool:
        return time.monotonic() - began < 60 * options.minutes - RESERVE_S

    def profile(candidates: list[Candidate]) -> None:
        for candidate in candidates:
            if candidate.variant.name == FAST and workload.batch in options.profile and in_time():
                try:
                    found = profiled(candidate.update, PROFILED_STEPS, candidate.bench.device)
                except Exception as error:  # no profile is no reason to lose the other figures
                    found = f"{FAILED}: {type(error).__name__}: {error}"
                figures.profiles[workload.batch] = found

    sizes = {"size": options.size, "ngf": options.ngf, "n_blocks": options.n_blocks}
    workload = Workload(**sizes)
    machine = f"{environment('torchvision')}\nCUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    figures = Figures(machine, sizes, flop_per_pair(workload))
    print(f"{machine}\n\nA step has {figures.flop / 1e12:.4g} TFLOP per image pair.\n", flush=True)
    on_gpu = torch.cuda.is_available()
    for number, batch in enumerate(options.batches):
        workload = dataclasses.replace(workload, batch=batch)
        try:
            bench = Bench(workload)
            figures.matrix_rates.append(matrix_rate(bench.device, options.matrix_side or (8192 if on_gpu else 256)))
        except RuntimeError:
            if not figures.cells:
                raise
            traceback.print_exc(file=sys.stderr)  # a kernel has failed, and with it the device
            break
        cells = measure(bench, VARIANTS, options.timings, options.steps, in_time, profile)
        figures.cells += cells
        print(details(cells, heading=not number), flush=True)
        print(f"batch {batch} measured after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if options.json is not None:
            figures.write(options.json)
    print(f"\n{summary(figures.cells, figures.flop, figures.matrix_rate)}\n{kernels(figures.profiles)}")
    bad = [*(cell for cell in figures.cells if cell.status.startswith(FAILED)), *filter(suspicious, figures.cells)]
    for cell in bad:
        reason = cell.status or "its losses are not those that it should have"
        print(f"\n**{cell.variant}, batch {cell.batch}: {reason}**")
    return 1 if bad else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; argparse, because a GPU machine may lack tyro."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers = {"size": (256, "pixels of the images' sides"), "ngf": (64, "channels of the first convolutions")}
    numbers |= {"n_blocks": (9, "residual blocks"), "timings": (5, "timings of each cell")}
    numbers |= {"steps": (0, "steps per timing; 0: 0.4 s of them"), "matrix_side": (0, "0: 8192, on a CPU 256")}
    for name, (default, text) in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default {default})")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 8, 4], help="the most wanted first")
    parser.add_argument("--profile", type=int, nargs="*", default=[1, 16], help=f"batch sizes to profile '{FAST}' at")
    parser.add_argument("--minutes", type=float, default=8.5, help="nothing is begun that would end later")
    parser.add_argument("--json", type=Path, help="file for all figures, written after each batch size")
    options = parser.parse_args(arguments)
    if min(*options.batches, *options.profile, options.timings, options.ngf, options.size) < 1:
        parser.error("--batches, --profile, --timings, --ngf and --size: give numbers above 0")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        parser.error(f"--json {options.json}: make the folder {options.json.parent} first")
    return options


def main() -> int:
    """Read the command line and measure."""
    options = parse(sys.argv[1:])
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # otherwise Kineto warns that there is no GPU
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRITON_CACHE_DIR"] = folder  # empty, so that the time until a step is ready contains all compiling
        return run(options)


if __name__ == "__main__":
    run_command(main)
