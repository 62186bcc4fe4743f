"""Speed, memory and losses of steps on a GPU: one cell for each variant of the step and each batch size.

The variants of a batch size are timed in alternating rounds. Those that do not fit into memory beside each other are
timed one by one afterwards.
"""

import gc
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.reference_step import ReferenceStep
from benchmarks.step_bench import Bench, loss_difference
from cyclegan_dist.step.graph import WARM_UP
from cyclegan_dist.step.memory import OutOfMemoryError, memory_errors
from cyclegan_dist.step.update import Step

COMPARED = WARM_UP + 2  # updates whose losses are compared, of which the last two replay the graph
POOL_SIZE = 50  # of the published algorithm; when it is full, its pool and the project's history choose differently
TIMING_S, MOST_STEPS = 0.4, 40  # least duration of a timing, and most steps in it
OUT_OF_MEMORY, NOT_REACHED, FAILED = "out of memory", "not reached", "failed"


@dataclass(frozen=True)
class Variant:
    """A step to measure.

    Attributes:
        name: for tables.
        options: of `OptimConfig`; None for the published algorithm.
        cudnn_benchmark: whether cuDNN measures which algorithm is fastest: the published code sets it, the project only
            with `optim.fast`.
        expected: name of the variant whose losses it should have, but for rounding.
    """

    name: str
    options: Mapping[str, Any] | None
    cudnn_benchmark: bool
    expected: str


BASELINE, FAST = "published algorithm", "bf16, fast on"
# The most wanted first, in case that time is short.
VARIANTS = (
    Variant(BASELINE, None, True, "fp32, fast off"),
    Variant(FAST, {"fast": "on", "precision": "bf16"}, True, "bf16, fast off"),
    Variant("fp32, fast off", {"fast": "off"}, False, ""),
    Variant("bf16, fast off", {"fast": "off", "precision": "bf16"}, False, "fp32, fast off"),
    Variant("fp32, fast on", {"fast": "on"}, True, "fp32, fast off"),
)


@dataclass
class Cell:
    """Figures of a variant at a batch size; those of a cell with a `status` are missing.

    Attributes:
        variant: its name.
        batch: images per domain and step.
        status: empty, OUT_OF_MEMORY, NOT_REACHED, or FAILED and why.
        ms: milliseconds per step, one figure per timing.
        ready_s: seconds from building the step to the end of its first update, or of the first replay of its graph.
        peak_gib: memory that torch's allocator gave out to the step at once, from the second update on; None on a CPU.
        first_difference, last_difference: largest relative difference of a loss from `Variant.expected`, in the first
            update and in the last one that is compared; None if there is nothing to compare with.
        alone: whether it was timed without others in between.
    """

    variant: str
    batch: int
    status: str = ""
    ms: list[float] = field(default_factory=list[float])
    ready_s: float | None = None
    peak_gib: float | None = None
    first_difference: float | None = None
    last_difference: float | None = None
    alone: bool = False


@dataclass
class Candidate:
    """A step that has been built, and what it has shown so far."""

    cell: Cell
    variant: Variant
    bench: Bench
    step: Step | ReferenceStep
    losses: list[Mapping[str, Tensor]]
    update_s: float

    def update(self) -> Mapping[str, Tensor]:
        """One update, with cuDNN's setting of the variant."""
        torch.backends.cudnn.benchmark = self.variant.cudnn_benchmark
        return self.bench.update(self.step)

    def timing(self, steps: int = 0) -> float:
        """Milliseconds per step, after an update that is not timed. `steps` 0: as many as last `TIMING_S`."""
        steps = steps or min(MOST_STEPS, max(2, math.ceil(TIMING_S / self.update_s)))
        self.update()
        return 1e3 * self.bench.timed(self.step, steps)[1] / steps


def build(bench: Bench, variant: Variant, cell: Cell) -> Candidate:
    """Build a step, and do the updates whose losses are compared."""
    on_gpu = bench.device.type == "cuda"
    free_memory()
    before = torch.cuda.memory_allocated() if on_gpu else 0
    torch.backends.cudnn.benchmark = variant.cudnn_benchmark
    began = time.perf_counter()
    step = bench.baseline() if variant.options is None else bench.project(**variant.options)
    made = Candidate(cell, variant, bench, step, [], 0.0)
    ready = WARM_UP + 1 if isinstance(step, Step) and step.fast else 1
    for number in range(1, COMPARED + 1):
        start = time.perf_counter()
        made.losses.append(made.update())
        bench.synchronise()
        made.update_s = time.perf_counter() - start
        if number == ready:
            cell.ready_s = time.perf_counter() - began
        if number == 1 and on_gpu:  # which tries cuDNN's algorithms, some with much memory
            torch.cuda.reset_peak_memory_stats()
    if on_gpu:
        cell.peak_gib = (torch.cuda.max_memory_allocated() - before) / 2**30
    return made


def measure(
    bench: Bench,
    variants: Sequence[Variant],
    timings: int,
    steps: int,
    in_time: Callable[[], bool],
    while_built: Callable[[list[Candidate]], None] = lambda candidates: None,
) -> list[Cell]:
    """Measure all variants at the bench's batch size.

    Args:
        bench: of the batch size.
        variants: to measure.
        timings: of each.
        steps: per timing; 0: as many as last `TIMING_S`.
        in_time: asked before each variant is built, and before each round.
        while_built: called with the steps that were timed in alternation.
    """
    cells = [Cell(variant.name, bench.workload.batch) for variant in variants]
    losses: dict[str, list[Mapping[str, Tensor]]] = {}
    _measure_together(bench, variants, cells, timings, steps, in_time, losses, while_built)
    for variant, cell in zip(variants, cells, strict=True):
        if cell.status == OUT_OF_MEMORY and len(variants) > 1:
            cell.status, cell.ms, cell.alone = "", [], True
            _measure_together(bench, [variant], [cell], timings, steps, in_time, losses, while_built)
    for variant, cell in zip(variants, cells, strict=True):
        if variant.name in losses and variant.expected in losses:
            mine, expected = losses[variant.name], losses[variant.expected]
            last = min(COMPARED, POOL_SIZE // cell.batch) if variant.options is None else COMPARED
            cell.first_difference = loss_difference(mine[0], expected[0])
            cell.last_difference = loss_difference(mine[last - 1], expected[last - 1]) if last else None
    return cells


def _measure_together(
    bench: Bench,
    variants: Sequence[Variant],
    cells: Sequence[Cell],
    timings: int,
    steps: int,
    in_time: Callable[[], bool],
    losses: dict[str, list[Mapping[str, Tensor]]],
    while_built: Callable[[list[Candidate]], None],
) -> None:
    candidates: list[Candidate] = []
    for variant, cell in zip(variants, cells, strict=True):
        if not in_time():
            cell.status = NOT_REACHED
            continue
        with _status_of(cell, bench):
            candidates.append(build(bench, variant, cell))
            losses[variant.name] = [{k: x.cpu() for k, x in one.items()} for one in candidates[-1].losses]
    for _ in range(timings):
        for candidate in list(candidates):
            if not in_time():
                break
            with _status_of(candidate.cell, bench):
                candidate.cell.ms.append(candidate.timing(steps))
            if candidate.cell.status:
                candidates.remove(candidate)
    for candidate in candidates:
        if not candidate.cell.ms:
            candidate.cell.status = NOT_REACHED
    while_built([candidate for candidate in candidates if candidate.cell.ms])
    candidates.clear()


@contextmanager
def _status_of(cell: Cell, bench: Bench) -> Iterator[None]:
    """Turn an error into the cell's status, so that the other cells are measured nevertheless."""
    try:
        with memory_errors("", images=cell.batch, size=bench.workload.size):
            yield
    except OutOfMemoryError:
        cell.status = OUT_OF_MEMORY
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        cell.status = f"{FAILED}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if cell.status:
        free_memory()


def free_memory() -> None:
    """Free the memory of steps that are no longer referred to; a step and its graph refer to each other."""
    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # after an error of the device each call fails, and the next cell says so
            torch.cuda.empty_cache()
