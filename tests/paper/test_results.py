"""Cells of tables and their differences."""

from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.paper.markdown import markdown
from cyclegan_dist.paper.results import RunResult, table_results
from cyclegan_dist.paper.runs import Plan
from cyclegan_dist.paper.scores import Scores
from cyclegan_dist.paper.tables import Column, Row, Table

TABLE = Table(
    title="t",
    base="streets",
    images=1,
    columns={"kept": Column(direction="AtoB", metric="m")},
    rows={"plain": Row(), "other": Row(baseline="plain"), "alone": Row(baseline="plain")},
)


def run(row: str, seed: int, value: float) -> RunResult:
    figures = {which: {"m": value} for which in ("last", "chosen")}
    scores: Any = {"AtoB": Scores(figures, {"last": 1, "chosen": 1}, (Path(), ""))}
    return RunResult(f"{row}-{seed}", row, seed, "finished", "", 1.0, scores)


def results() -> dict[str, Any]:
    """Seeds differ by far more than the rows, which differ by 0.1 to 0.3 in all seeds that both have."""
    runs = [run("plain", seed, value) for seed, value in enumerate((1.0, 5.0, 9.0))]
    runs += [run("other", seed, value) for seed, value in ((3, 70.0), (2, 9.3), (1, 5.2), (0, 1.1))]
    runs += [run("alone", 0, 2.0)]
    return table_results(TABLE, Plan(None, {}, {}), runs)  # pyright: ignore[reportArgumentType]


def test_differences_are_those_of_the_seeds_that_both_rows_have() -> None:
    rows = results()["rows"]
    found = rows["other"]["differences"]["kept"]["last"]
    assert (found["n"], found["mean"]) == (3, pytest.approx(0.2))
    margin = 4.302653 * 0.1 / 3**0.5  # Student's t of two degrees of freedom
    assert found["interval"] == pytest.approx([0.2 - margin, 0.2 + margin])
    assert rows["alone"]["differences"]["kept"]["last"] == {"mean": 1.0, "interval": None, "n": 1}
    assert rows["plain"]["differences"] == {}


def test_differences_are_printed_where_rows_have_a_baseline() -> None:
    text = markdown({"tables": {"t": results()}})
    assert "| other - plain | last | 0.2 ± 0.2 |" in text and "| paper |" not in text
