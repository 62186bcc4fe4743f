"""Markdown tables of `benchmarks.gpu`."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.gpu_cells import BASELINE, Cell
from benchmarks.kernel_kinds import DeviceProfile

# Largest relative difference of a loss that rounding explains: in the first update, and after the last one.
LIMITS = (0.03, 0.2)
MOST_NAMED, LONGEST_NAME = 20, 160  # kernels of no known kind, and characters of their names; JSON has all
HEADING = (
    "| batch | step | ms per step (range) | images/s | memory, GiB | ready after, s | "
    "loss difference, first update | last |\n|---|---|---|---|---|---|---|---|"
)


def suspicious(cell: Cell) -> bool:
    """Whether a loss differs by more than rounding explains."""
    differences = (cell.first_difference, cell.last_difference)
    return any(d is not None and d > limit for d, limit in zip(differences, LIMITS, strict=True))


def details(cells: Sequence[Cell], *, heading: bool) -> str:
    """A row for each cell: speed, memory, time until it is ready, difference of losses."""
    rows = [HEADING] if heading else []
    for cell in cells:
        if cell.status:
            rows.append(f"| {cell.batch} | {cell.variant} | {cell.status} | | | | | |")
            continue
        median = statistics.median(cell.ms)
        spread = f"{median:.2f} ({min(cell.ms):.2f} - {max(cell.ms):.2f})" + ", alone" * cell.alone
        others = [
            _shown(cell.peak_gib, ".1f"),
            _shown(cell.ready_s, ".1f"),
            _shown(cell.first_difference, ".0e"),
            _shown(cell.last_difference, ".0e") + " **differs**" * suspicious(cell),
        ]
        rate = 1e3 * cell.batch / median
        rows.append(f"| {cell.batch} | {cell.variant} | {spread} | {rate:.1f} | {' | '.join(others)} |")
    return "\n".join(rows)


def summary(cells: Sequence[Cell], flop: int, matrix_rate: float) -> str:
    """For each step and batch size: time, images per domain and second, share of the matrix rate, speed-up over the
    published algorithm.

    Args:
        cells: of all batch sizes.
        flop: per step and image pair.
        matrix_rate: FLOP/s.
    """
    batches = sorted({cell.batch for cell in cells})
    rows = [
        f"bf16 matrix product: {matrix_rate / 1e12:.4g} TFLOP/s\n",
        "| step | " + " | ".join(f"batch {batch}" for batch in batches) + " |",
        "|---" * (len(batches) + 1) + "|",
    ]
    by_place = {(cell.variant, cell.batch): cell for cell in cells}
    for variant in dict.fromkeys(cell.variant for cell in cells):
        row: list[str] = []
        for batch in batches:
            cell, baseline = by_place[variant, batch], by_place.get((BASELINE, batch))
            row.append(_figures(cell, baseline, flop, matrix_rate))
        rows.append(f"| {variant} | {' | '.join(row)} |")
    return "\n".join(rows)


def _figures(cell: Cell, baseline: Cell | None, flop: int, matrix_rate: float) -> str:
    if cell.status:
        return cell.status
    ms = statistics.median(cell.ms)
    share = flop * cell.batch / (ms / 1e3) / matrix_rate
    text = f"{ms:.1f} ms, {1e3 * cell.batch / ms:.1f} img/s, {share:.1%}"
    if baseline is None or not baseline.ms or cell.variant == BASELINE:
        return text
    return f"{text}, {statistics.median(baseline.ms) / ms:.2f} x"


def kernels(profiles: Mapping[int, DeviceProfile | str]) -> str:
    """Time by kind of kernel and batch size, and the kernels that are of no known kind."""
    rows: list[str] = []
    for batch, profile in sorted(profiles.items()):
        if isinstance(profile, str):
            rows.append(f"\nProfile at batch {batch}: {profile}")
            continue
        rows.append(
            f"\nProfile at batch {batch}: {profile.kernels:.0f} kernels and {profile.step_ms:.2f} ms per step "
            "under the profiler\n\n| kind of kernel | ms | share |\n|---|---|---|"
        )
        rows += [f"| {kind} | {ms:.3f} | {ms / profile.step_ms:.1%} |" for kind, ms in profile.kinds.items()]
        named = [f"{ms:.3f} ms `{name[:LONGEST_NAME]}`" for name, ms in profile.unknown.items()]
        if named:
            rows.append(f"\nKernels of no known kind, {len(named)}: {'; '.join(named[:MOST_NAMED])}")
    return "\n".join(rows)


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
