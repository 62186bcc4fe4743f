"""The page of a comparison, one HTML file with its pictures inside, and `style.json`."""

import base64
import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path

import jinja2

from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.style.comparison import COLLECTION, INPUT, TRANSLATION, Column, Comparison

PAGE, JSON = "index.html", "style.json"


def write_page(comparison: Comparison, out: Path, method: str, facts: Mapping[str, str]) -> Path:
    """Write both files into the folder `out`, and return the page's path.

    Args:
        comparison: the pictures.
        out: an existing folder.
        method: name of the model's method.
        facts: shown below the pictures.

    Raises:
        OSError: if it cannot be written.
    """
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        importlib.resources.files("cyclegan_dist.style").joinpath("page.html").read_text()
    )
    columns = [
        {
            "title": _title(column, method),
            "pictures": [_inline(path) for path in column.files],
            "styles": [_inline(path) for path in column.styles],
            "distances": column.distances,
        }
        for column in comparison.columns
    ]
    content = {"title": f"{method} and style transfer", "columns": columns, "facts": facts, "names": comparison.names}
    text = template.render(content, images=comparison.images, network=comparison.network)
    write_atomic(out / PAGE, text)
    found = {
        column.kind: {
            "files": [str(path.relative_to(out)) for path in column.files],
            "styles": [str(path.relative_to(out)) for path in column.styles],
            "distances": column.distances,
        }
        for column in comparison.columns
    }
    record = {**facts, "network": comparison.network, "inputs": comparison.names, "pictures": found}
    write_atomic(out / JSON, json.dumps(record, indent=1) + "\n")
    return out / PAGE


def _title(column: Column, method: str) -> str:
    known = {INPUT: "Input", COLLECTION: "Style transfer, whole domain", TRANSLATION: method}
    return known.get(column.kind) or f"Style transfer, image {column.kind.rpartition(' ')[2]}"


def _inline(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
