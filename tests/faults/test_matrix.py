"""Each drill with few repetitions, and the page that the full ones left."""

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
PROMISED = {"A": 13, "B": 12, "C": 14, "D": 5, "E": 8, "F": 10}


@pytest.mark.filterwarnings("ignore::Warning")  # of webdataset, MLflow and what they load
@pytest.mark.parametrize("row", DRILLS)
def test_a_fault_ends_as_it_should(row: Row, tmp_path: Path) -> None:
    found = row.drill(Stage(tmp_path, thorough=False))
    assert found.passed, found.figure


def test_every_fault_of_the_matrix_has_a_row() -> None:
    wanted = {f"{group}{number}" for group, last in PROMISED.items() for number in range(1, last + 1)}
    assert wanted <= set(ROWS)


def test_the_page_is_what_the_drills_measured() -> None:
    figures = json.loads(FIGURES.read_text())
    assert list(figures["rows"]) == list(ROWS), "run make faults"
    assert (FIGURES.parent / "faults.md").read_text() == render(figures), "run make faults"
    rows = [line for line in (FIGURES.parent / "faults.md").read_text().splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in rows if line.split()[1] in ROWS] == list(ROWS)
    assert all(line.endswith(" |") and line.count(" | ") >= 4 for line in rows)
    assert [id for id, entry in figures["rows"].items() if not entry["passed"]] == []
