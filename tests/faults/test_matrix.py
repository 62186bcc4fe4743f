"""Tests that run each drill with few repetitions, and that check the generated page."""

import json
from pathlib import Path

import pytest

from tests.faults.drills import ROWS
from tests.faults.matrix import Row, Stage
from tests.faults.page import FIGURES, render

DRILLS = [
    pytest.param(row, id=row.id, marks=[pytest.mark.slow] if row.slow else [])
    for row in ROWS.values()
    if not row.nightly
]
REQUIRED = {"A": 14, "B": 14, "C": 16, "D": 5, "E": 10, "F": 10, "G": 4}


@pytest.mark.filterwarnings("ignore::Warning")  # from webdataset, MLflow and their dependencies
@pytest.mark.parametrize("row", DRILLS)
def test_the_outcome_of_a_fault_is_as_expected(row: Row, tmp_path: Path) -> None:
    found = row.drill(Stage(tmp_path, thorough=False))
    assert found.passed, found.figure


def test_the_matrix_has_every_required_row() -> None:
    wanted = {f"{group}{number}" for group, last in REQUIRED.items() for number in range(1, last + 1)}
    assert wanted <= set(ROWS)


def test_the_page_shows_the_saved_figures_and_every_row_passes() -> None:
    figures = json.loads(FIGURES.read_text())
    assert list(figures["rows"]) == list(ROWS), "run make faults"
    assert (FIGURES.parent / "faults.md").read_text() == render(figures), "run make faults"
    rows = [line for line in (FIGURES.parent / "faults.md").read_text().splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in rows if line.split()[1] in ROWS] == list(ROWS)
    assert all(line.endswith(" |") and line.count(" | ") >= 4 for line in rows)
    assert [id for id, entry in figures["rows"].items() if not entry["passed"]] == []
