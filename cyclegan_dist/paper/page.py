"""The page of tables: one HTML file with its pictures inside, `results.json`, and Markdown for documentation."""

import base64
import importlib.resources
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from cyclegan_dist.data.config import DataDirection
from cyclegan_dist.paper import formats
from cyclegan_dist.paper.markdown import markdown
from cyclegan_dist.paper.results import PAPER, WHICH, RunResult
from cyclegan_dist.paper.tables import Table
from cyclegan_dist.storage.files import write_atomic

PICTURES = 4  # test images of each direction
SMALL = 128  # pixels; wider pictures are scaled to fit their place, others by integers
LEAST = 96  # pixels that a small one has at least on the page, about
SMOKE_WARNING = (
    "A smoke run: small networks and a few steps, in which nothing was learned. Figures, pictures and statements "
    "on this page mean nothing; they only show that everything runs."
)
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
    warning = SMOKE_WARNING if results["protocol"]["smoke"] else ""
    pictures = {
        name: [(_heading(table, direction), _pictures(table, direction, runs)) for direction in table.directions]
        for name, table in tables.items()
    }
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        importlib.resources.files("cyclegan_dist.paper").joinpath("page.html").read_text()
    )
    text = template.render(
        title=title,
        warning=warning,
        results=results,
        figures={name: table.figure for name, table in tables.items()},
        pictures=pictures,
        protocol=formats.protocol_rows(results["protocol"]),
        formats=formats,
        which=WHICH,
        paper=PAPER,
    )
    write_atomic(out / PAGE, text)
    write_atomic(out / MARKDOWN, markdown(results, warning))
    write_atomic(out / JSON, json.dumps(results, indent=1) + "\n")
    return out / PAGE


def _heading(table: Table, direction: DataDirection) -> str:
    if not table.maps:
        return direction
    return "photos to label maps" if direction[-1] == table.maps else "label maps to photos"


@dataclass(frozen=True)
class Picture:
    """A picture within the page.

    Attributes:
        source: data URL.
        width: in pixels.
    """

    source: str
    width: int

    @property
    def is_small(self) -> bool:
        """Whether it is shown at an integer zoom, each pixel as a square."""
        return self.width <= SMALL

    @property
    def zoom(self) -> int:
        """The least zoom of a small one, for pages too narrow for a larger one."""
        return max(1, LEAST // self.width)


def _pictures(table: Table, direction: DataDirection, runs: Sequence[RunResult]) -> list[dict[str, Picture]]:
    """For each of the first test images, by heading: input, each row's translation by the first finished run, truth."""
    columns: dict[str, list[Picture]] = {}
    truth: list[Picture] = []
    for row in table.rows:
        run = next((run for run in runs if run.row == row and direction in run.scores), None)
        if run is None:
            continue
        folder, prefix = run.scores[direction].pictures
        files = {kind: sorted(folder.glob(f"{prefix}-*-{kind}.png"))[:PICTURES] for kind in _KINDS}
        columns.setdefault("input", [_inline(path) for path in files["input"]])
        columns[row] = [_inline(path) for path in files["translation"]]
        truth = truth or [_inline(path) for path in files["truth"]]
    columns |= {"truth": truth} if truth else {}
    return [dict(zip(columns, images, strict=True)) for images in zip(*columns.values(), strict=True)]


_KINDS = ("input", "translation", "truth")


def _inline(path: Path) -> Picture:
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        width = image.width
    return Picture(f"data:image/png;base64,{base64.b64encode(content).decode()}", width)
