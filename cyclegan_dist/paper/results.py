"""Results of tables as JSON values: cells, statements, runs. What the page and the Markdown show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cyclegan_dist.data.config import DataDirection
from cyclegan_dist.evaluation.cached import CHOSEN, LAST
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.paper.compare import judge, welch
from cyclegan_dist.paper.formats import decimals, printed_decimals
from cyclegan_dist.paper.runs import Plan
from cyclegan_dist.paper.scores import Scores
from cyclegan_dist.paper.tables import Column, Row, Table

WHICH = (LAST, CHOSEN)
PAPER = "paper"


@dataclass(frozen=True)
class RunResult:
    """A run of a table.

    Attributes:
        name: its folder in the sweep's.
        row: name of the row.
        seed: of the run.
        status: as of a sweep's trial.
        text: the reason, if it did not end well.
        seconds: of training.
        scores: by direction of the data set; empty if it did not finish.
    """

    name: str
    row: str
    seed: int
    status: str
    text: str
    seconds: float
    scores: Mapping[DataDirection, Scores]


def table_results(table: Table, plan: Plan, runs: Sequence[RunResult]) -> dict[str, Any]:
    """The results of one table, as JSON values."""
    cells = {which: _cells(table, runs, which) for which in WHICH}
    truth = _truth(table, table.truth, runs) if table.truth is not None else None
    places = {
        name: decimals(
            [
                *(cell.value for which in WHICH for (_, column), cell in cells[which].items() if column == name),
                *([truth["cells"][name]["mean"] or 0.0] if truth else []),
            ]
        )
        for name in table.columns
    }
    rows = {
        name: {
            "cells": {
                column: {which: _cell(table, cells[which], name, column) for which in WHICH}
                | {"paper": row.paper[i] if row.paper else None}
                for i, column in enumerate(table.columns)
            },
            "baseline": row.baseline,
            "differences": _differences(table, runs, name) if row.baseline else {},
            "status": row.status,
            "reason": _reason(name, plan, runs),
        }
        for name, row in table.rows.items()
    }
    checks = [
        {
            "says": check.says,
            **{
                which: _verdict(judge(check, cells[which], places[check.column], table.columns[check.column].best))
                for which in WHICH
            },
        }
        for check in table.checks
    ]
    return {
        "title": table.title,
        "note": table.note,
        "columns": {
            name: {
                "direction": column.direction,
                "metric": column.metric,
                "decimals": places[name],
                "paper_decimals": printed_decimals(_printed(table, i)),
            }
            for i, (name, column) in enumerate(table.columns.items())
        },
        "rows": rows,
        "truth": truth,
        "checks": checks,
    }


def run_facts(run: RunResult) -> dict[str, Any]:
    """A run as JSON values."""
    scores = {
        direction: {which: {"nimg": found.nimg[which], **found.figures[which]} for which in WHICH}
        for direction, found in run.scores.items()
    }
    return {
        **{key: getattr(run, key) for key in ("name", "row", "seed", "status", "text")},
        "seconds": round(run.seconds, 1),
        "scores": scores,
    }


def _cells(table: Table, runs: Sequence[RunResult], which: str) -> dict[tuple[str, str], Figure]:
    found: dict[tuple[str, str], Figure] = {}
    for row in table.rows:
        for name, column in table.columns.items():
            if values := _values(column, [run for run in runs if run.row == row], which):
                found[row, name] = Figure.mean(values)
    return found


def _values(column: Column, runs: Sequence[RunResult], which: str, suffix: str = "") -> list[float]:
    """Of the runs that have it."""
    key = column.metric + suffix
    scores = [run.scores[column.direction].figures[which] for run in runs if column.direction in run.scores]
    return [found[key] for found in scores if key in found and math.isfinite(found[key])]


def _differences(table: Table, runs: Sequence[RunResult], row: str) -> dict[str, dict[str, Any]]:
    """By column and snapshot, the mean over seeds of a row's value less its baseline's, and its 95 % interval."""
    found: dict[str, dict[str, Any]] = {}
    for name, column in table.columns.items():
        for which in WHICH:
            both = [
                {run.seed: value for run in runs if run.row == one for value in _values(column, [run], which)}
                for one in (row, table.rows[row].baseline)
            ]
            if seeds := sorted(both[0].keys() & both[1].keys()):
                figure = Figure.mean([both[0][seed] - both[1][seed] for seed in seeds])
                interval = list(figure.interval) if len(seeds) > 1 else None
                found.setdefault(name, {})[which] = {"mean": figure.value, "interval": interval, "n": len(seeds)}
    return found


def _cell(table: Table, cells: Mapping[tuple[str, str], Figure], row: str, column: str) -> dict[str, Any] | None:
    figure = cells.get((row, column))
    if figure is None:
        return None
    sign = 1 if table.columns[column].best == "highest" else -1
    best = max((found for (_, name), found in cells.items() if name == column), key=lambda found: sign * found.value)
    low, high = welch(best, figure)
    return {
        "mean": figure.value,
        "interval": list(figure.interval) if len(figure.parts) > 1 else None,
        "n": len(figure.parts),
        "values": list(figure.parts),
        "best": figure is best,
        # None: too few runs to tell.
        "differs_from_best": None if math.isnan(low) or figure is best else not low <= 0 <= high,
    }


def _truth(table: Table, row: Row, runs: Sequence[RunResult]) -> dict[str, Any]:
    """Real images have one score, whatever was trained."""
    values = {name: _values(column, runs, LAST, "_real") for name, column in table.columns.items()}
    return {
        "cells": {
            name: {"mean": found[0] if found else None, "paper": row.paper[i] if row.paper else None}
            for i, (name, found) in enumerate(values.items())
        },
        "status": row.status,
    }


def _printed(table: Table, i: int) -> list[float]:
    rows = [*table.rows.values(), *([table.truth] if table.truth else [])]
    figures = [row.paper[i] for row in rows if row.paper]
    return [figure for figure in figures if figure is not None]


def _reason(row: str, plan: Plan, runs: Sequence[RunResult]) -> str:
    """Why figures of a row are missing, or nothing."""
    if row in plan.failed:
        return plan.failed[row]
    lost = [run for run in runs if run.row == row and not run.scores]
    return "; ".join(f"seed {run.seed}: {run.status}{': ' * bool(run.text)}{run.text}" for run in lost)


def _verdict(verdict: Any) -> dict[str, Any]:
    return {"outcome": verdict.outcome, "text": verdict.text}
