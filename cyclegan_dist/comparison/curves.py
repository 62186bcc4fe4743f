"""Curves of several runs over each other, by images seen."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from cyclegan_dist.comparison.sources import ComparedSource
from cyclegan_dist.pages.curves import draw_curves
from cyclegan_dist.tracking.journal import images_of, read_records

MOST_POINTS = 100  # of a line: so many can be told apart in a small picture
RATE = "perf/images_per_s"

Points = list[tuple[float, float]]


def curves_of(compared: Sequence[ComparedSource]) -> dict[str, dict[str, Points]]:
    """By name, losses, figures of the evaluations during training and images per second that two runs or more have:
    for each run the points, images seen and value. Of several snapshots of one run, the run is drawn once.
    """
    journals: dict[Path, str] = {}
    for one in compared:
        if one.run is not None:
            journals.setdefault(one.run.journal.resolve(), one.name)
    lines = {name: _points(journal) for journal, name in journals.items()}
    keys = dict.fromkeys(key for points in lines.values() for key in points)
    found = {key: {name: points[key] for name, points in lines.items() if key in points} for key in keys}
    order = lambda key: (not key.startswith("loss/"), key == RATE)  # noqa: E731
    return {key: found[key] for key in sorted(found, key=order) if len(found[key]) > 1}


def _points(journal: Path) -> dict[str, Points]:
    found: dict[str, Points] = {}
    for record, _ in read_records(journal, 0) if journal.is_file() else ():
        if record["kind"] not in ("metrics", "evaluation"):
            continue
        for key, value in record["values"].items():
            wanted = record["kind"] == "evaluation" or key.startswith("loss/") or key == RATE
            if wanted and isinstance(value, int | float) and math.isfinite(value):
                found.setdefault(key, []).append((images_of(record), value))
    return found


def thinned(points: Sequence[tuple[float, float]]) -> Points:
    """Means of parts of equal length, at most `MOST_POINTS`, each at its last number of images."""
    size = math.ceil(len(points) / MOST_POINTS)
    parts = (points[i : i + size] for i in range(0, len(points), size))
    return [(part[-1][0], math.fsum(value for _, value in part) / len(part)) for part in parts]


def draw_all(curves: Mapping[str, Mapping[str, Points]], out: Path) -> list[dict[str, str]]:
    """A picture for each curve, for light and dark pages, in the folder `out`; with its last values in words."""
    drawn: list[dict[str, str]] = []
    for i, (key, lines) in enumerate(curves.items()):
        whole = key.startswith("loss/") or key == RATE
        files = draw_curves(
            key, {name: thinned(points) for name, points in lines.items()}, out, f"curves-{i}", from_zero=whole
        )
        ends = ", ".join(f"{name} {points[-1][1]:.3g} at {points[-1][0]:g}" for name, points in lines.items())
        drawn.append({**files, "text": f"{key} over images seen: {ends}"})
    return drawn
