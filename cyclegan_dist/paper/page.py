"""The page of tables: one HTML file with its pictures inside, `results.json`, and Markdown for documentation."""

import base64
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from cyclegan_dist.data.config import DataDirection
from cyclegan_dist.paper.results import WHICH, RunResult
from cyclegan_dist.paper.tables import Table
from cyclegan_dist.storage.files import write_atomic

PICTURES = 4  # test images of each direction
NONE = "-"
PAGE, JSON, MARKDOWN = "index.html", "results.json", "tables.md"


def write_page(
    out: Path, tables: Mapping[str, Table], results: Mapping[str, Any], runs: Sequence[RunResult], title: str
) -> Path:
    """Write all three files into the folder `out`, and return the page's path.

    Args:
        out: folder to make or to fill.
        tables: by name.
        results: JSON values: `tables`, by name as of `table_results`, `protocol` and `runs`.
        runs: for the pictures.
        title: heading.

    Raises:
        OSError: if it cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures = {
        name: [(_heading(table, direction), _pictures(table, direction, runs)) for direction in table.directions]
        for name, table in tables.items()
    }
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        importlib.resources.files("cyclegan_dist.paper").joinpath("page.html").read_text()
    )
    figures = {name: table.figure for name, table in tables.items()}
    content = {"title": title, "results": results, "figures": figures, "pictures": pictures}
    text = template.render(content, short=short, as_printed=as_printed, cell_text=cell_text)
    write_atomic(out / PAGE, text)
    write_atomic(out / MARKDOWN, _markdown(results))
    write_atomic(out / JSON, json.dumps(results, indent=1) + "\n")
    return out / PAGE


def short(value: float | None) -> str:
    """A value for people: three digits."""
    if value is None:
        return NONE
    return f"{value:.3f}" if abs(value) >= 1e-2 or not value else f"{value:.1e}"


def as_printed(value: float | None) -> str:
    """A figure of the paper."""
    return NONE if value is None else f"{value:g}"


def cell_text(cell: Mapping[str, Any] | None) -> str:
    """Mean and half the width of its interval; a dagger marks what may be equal to the best, by the interval."""
    if cell is None:
        return NONE
    half = f" ± {short((cell['interval'][1] - cell['interval'][0]) / 2)}" if cell["interval"] else ""
    return f"{short(cell['mean'])}{half}" + (" †" if cell["differs_from_best"] is False else "")


def _heading(table: Table, direction: DataDirection) -> str:
    if not table.maps:
        return direction
    return "photos to label maps" if direction[-1] == table.maps else "label maps to photos"


def _pictures(table: Table, direction: DataDirection, runs: Sequence[RunResult]) -> dict[str, list[str]]:
    """As data URLs by column: input, each row's translation by the first finished run, truth."""
    columns: dict[str, list[str]] = {}
    truth: list[str] = []
    for row in table.rows:
        run = next((run for run in runs if run.row == row and direction in run.scores), None)
        if run is None:
            continue
        folder, prefix = run.scores[direction].pictures
        files = {kind: sorted(folder.glob(f"{prefix}-*-{kind}.png"))[:PICTURES] for kind in _KINDS}
        columns.setdefault("input", [_inline(path) for path in files["input"]])
        columns[row] = [_inline(path) for path in files["translation"]]
        truth = truth or [_inline(path) for path in files["truth"]]
    return {**columns, "truth": truth} if truth else columns


_KINDS = ("input", "translation", "truth")


def _inline(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _markdown(results: Mapping[str, Any]) -> str:
    """A table for each of the paper's: last, chosen, and the paper's figure."""
    lines: list[str] = []
    for table in results["tables"].values():
        measured = [name for name, column in table["columns"].items() if column["metric"]]
        lines += [f"### {table['title']}", "", table["note"], ""] if table["note"] else [f"### {table['title']}", ""]
        headings = [f"{name}, {which}" for name in measured for which in (*WHICH, "paper")]
        lines += [f"| | {' | '.join(headings)} | status |", f"|---|{'---|' * (len(headings) + 1)}"]
        for name, row in table["rows"].items():
            cells = [
                text
                for column in measured
                for text in (
                    *(cell_text(row["cells"][column][which]) for which in WHICH),
                    as_printed(row["cells"][column]["paper"]),
                )
            ]
            lines.append(f"| {name} | {' | '.join(cells)} | {row['reason'] or row['status']} |")
        lines += ["", *(f"* {_sentence(check)}" for check in table["checks"]), ""]
    return "\n".join(lines)


def _sentence(check: Mapping[str, Any]) -> str:
    said = "; ".join(f"{which}: {check[which]['outcome']} ({check[which]['text']})" for which in WHICH)
    return f"{check['says']}: {said}"
