"""The tables of a comparison, for a terminal and for the page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cyclegan_dist.comparison.sources import ComparedSource
from cyclegan_dist.tracking.quantities import duration

if TYPE_CHECKING:
    from cyclegan_dist.comparison.measure import ComparedFigures
    from cyclegan_dist.evaluation.figures import Figure

Tables = dict[str, list[tuple[str, ...]]]
"""By title, rows below their headings."""


def facts_table(compared: Sequence[ComparedSource]) -> list[tuple[str, ...]]:
    """A column for each run, a row for each fact that one of them has."""
    rows = [("", *(one.name for one in compared))]
    for key in dict.fromkeys(key for one in compared for key in one.facts):
        timed = key.startswith("seconds of ")
        values = (one.facts.get(key) for one in compared)
        cells = (duration(value) if timed and value is not None else _shown(value) for value in values)
        rows.append((key.removeprefix("seconds of "), *cells))
    return rows


def config_table(compared: Sequence[ComparedSource], found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A column for each run, a row for each key in which they differ."""
    rows = [("option", *(one.name for one in compared))]
    return rows + [(key, *(_shown(values.get(one.name)) for one in compared)) for key, values in found.items()]


def figures_table(compared: Sequence[ComparedSource], figures: "ComparedFigures") -> list[tuple[str, ...]]:
    """A row for each figure of each run, with its difference from the first run."""
    from cyclegan_dist.comparison.measure import apart  # loads torch, as the evaluation did

    first = compared[0].name
    headings = ("figure", "run", "value", "95 % interval", "images", f"minus {first}", "95 % interval", "apart from 0")
    rows: list[tuple[str, ...]] = [headings]
    keys = sorted({key for one in figures.evaluations.values() for key in one.figures})
    for key in keys:
        name = key
        for one in compared:
            evaluation = figures.evaluations.get(one.name)
            if evaluation is None or key not in evaluation.figures:
                continue
            figure = evaluation.tree["figures"][key]
            interval = figure["interval"]
            between = f"{interval[0]:.4g} to {interval[1]:.4g}" if interval else "none"
            cells = (name, one.name, f"{figure['value']:.4g}", between, str(figure["n"]))
            found = figures.differences.get(one.name, {}).get(key)
            rows.append((*cells, *(_difference(found, apart(found)) if found is not None else ("", "", ""))))
            name = ""  # said once
    return rows


def _difference(figure: "Figure", apart: str) -> tuple[str, str, str]:
    low, high = figure.interval
    between = f"{low:.3g} to {high:.3g}" if len(figure.parts) > 1 else "none"
    return f"{figure.value:+.3g}", between, apart


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return ", ".join(map(str, value)) or "-" if isinstance(value, list | tuple) else str(value)
