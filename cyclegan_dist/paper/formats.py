"""Values of tables as text for people: one number of decimals in each column."""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

NONE = "-"
DIGITS, MOST_DECIMALS = 3, 6
OUTCOMES = ("held", "did not hold", "undecided", "not measured")


def decimals(values: Iterable[float]) -> int:
    """The decimals that show three digits of the largest of `values` by magnitude, at most 6. Finite values count."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if not largest:
        return DIGITS
    return min(MOST_DECIMALS, max(0, DIGITS - 1 - math.floor(math.log10(largest))))


def printed_decimals(values: Iterable[float]) -> int:
    """The decimals of a printed column: those of the value that has most, because numbers lose their last zeros."""
    exponents = [Decimal(str(value)).as_tuple().exponent for value in values if math.isfinite(value)]
    return max((-exponent for exponent in exponents if isinstance(exponent, int)), default=0)


def number(value: float | None, places: int) -> str:
    """A value with so many decimals."""
    return NONE if value is None else f"{value:.{places}f}"


def margin(cell: Mapping[str, Any] | None, places: int) -> str:
    """Half the width of a cell's interval, with its sign; empty if it has none."""
    if cell is None or not cell["interval"]:
        return ""
    return f"± {number((cell['interval'][1] - cell['interval'][0]) / 2, places)}"


def mark(cell: Mapping[str, Any] | None) -> str:
    """A dagger for what may be equal to the best of its column, by the interval."""
    return "†" if cell is not None and cell["differs_from_best"] is False else ""


def mean(cell: Mapping[str, Any] | None, places: int) -> str:
    """A cell's mean."""
    return NONE if cell is None else number(cell["mean"], places)


def is_not_zero(cell: Mapping[str, Any] | None) -> bool:
    """Whether the interval of a difference does not contain 0."""
    return bool(cell is not None and cell["interval"] and not cell["interval"][0] <= 0 <= cell["interval"][1])


def runs_of(row: Mapping[str, Any]) -> str:
    """From how many runs the figures of a row are."""
    found = sorted({cell["n"] for cells in row["cells"].values() for cell in cells.values() if isinstance(cell, dict)})
    if not found:
        return "no runs"
    return f"{' to '.join(str(n) for n in found[:: len(found) - 1 or 1])} run{'s' * (found[-1] > 1)}"


def outcomes(checks: Iterable[Mapping[str, Any]], which: str) -> str:
    """How many statements have each outcome."""
    found = [check[which]["outcome"] for check in checks]
    return ", ".join(f"{found.count(outcome)} {outcome}" for outcome in OUTCOMES if outcome in found)


def protocol_rows(protocol: Mapping[str, Any]) -> dict[str, list[str]]:
    """The protocol as lines of text, by heading. Whether it was a smoke run is said elsewhere."""
    rows: dict[str, list[str]] = {}
    for key, value in protocol.items():
        if key == "smoke":
            continue
        if key == "data":
            rows["data"] = [f"{_PARTS.get(part, part)}: {_data(facts)}" for part, facts in value.items()]
        elif isinstance(value, Mapping):
            rows[key.replace("_", " ")] = [f"{name}: {text}" for name, text in value.items()]
        else:
            rows[key.replace("_", " ")] = [", ".join(map(str, value)) if isinstance(value, list) else str(value)]
    return rows


_PARTS = {"train": "training", "val": "validation"}


def _data(facts: Mapping[str, Any]) -> str:
    if "samples" not in facts:
        kept = f"the first {facts['max_samples']} of each domain" if facts["max_samples"] else "all images"
        return f"{facts['source']}, {kept}, {facts['images_of_an_epoch']} an epoch"
    counts = " and ".join(
        f"{n} images of {domain} (digest {facts['digests'][domain][:12]})" for domain, n in facts["samples"].items()
    )
    return f"{facts['source']}, {counts}"
