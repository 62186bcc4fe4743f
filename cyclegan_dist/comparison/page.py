"""The page of a comparison: one folder that opens from disk, in the style of the gallery. Does not load torch."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from cyclegan_dist.comparison.sources import ComparedSource
from cyclegan_dist.comparison.tables import Tables
from cyclegan_dist.data.domain_names import direction_label
from cyclegan_dist.pages.template import page_script, page_template

if TYPE_CHECKING:
    from cyclegan_dist.comparison.measure import ComparedFigures


def write_page(
    out: Path,
    compared: Sequence[ComparedSource],
    warnings: Sequence[str],
    tables: Tables,
    curves: Sequence[dict[str, str]],
    figures: "ComparedFigures | None",
) -> Path:
    """Write `index.html`, and the pictures of the evaluations, into the folder `out`. Returns the page's path.

    Args:
        out: folder that exists.
        compared: the runs.
        warnings: sentences about what cannot be compared.
        tables: shown above the pictures.
        curves: as of `comparison.curves.draw_all`.
        figures: with the pictures, if something was measured.

    Raises:
        OSError: if it cannot be written.
    """
    sections = _sections(out, compared, figures) if figures is not None else []
    columns = max((len(row["pictures"]) for section in sections for row in section["rows"]), default=2)
    content = {
        "title": f"Comparison of {', '.join(one.name for one in compared)}",
        "facts": {},
        "warnings": warnings,
        "tables": {title: rows for title, rows in tables.items() if len(rows) > 1},
        "sections": sections,
        "curves": curves,
        "columns": columns,
        "first": compared[0].name,
        **page_script("pages/compare.js", "evaluation/gallery.js"),
    }
    page = out / "index.html"
    page.write_text(page_template("comparison/page.html").render(content))
    return page


def _sections(out: Path, compared: Sequence[ComparedSource], figures: "ComparedFigures") -> list[dict[str, Any]]:
    """For each direction, the images that the first model with it shows, and their translations by each model."""
    (out / "images").mkdir(exist_ok=True)
    sections: list[dict[str, Any]] = []
    for direction in ("AB", "BA"):
        having = [one for one in _of_one_order(compared, figures) if direction in figures.evaluations[one.name].shown]
        if not having:
            continue
        rows: list[dict[str, Any]] = []
        for i, name in enumerate(figures.evaluations[having[0].name].names[direction]):
            sources: dict[str, Path] = {}
            for number, one in enumerate(having):
                evaluation = figures.evaluations[one.name]
                shown, names = evaluation.shown[direction], evaluation.names[direction]
                if name in names:
                    sources.setdefault("input", shown["input"][names.index(name)])
                    sources[f"run-{number}"] = shown["translation"][names.index(name)]
            rows.append({"name": name, "pictures": _copied(out, f"{direction}-{i:04d}", sources)})
        names = next((one.names for one in having if one.names), {})
        labels = {f"run-{number}": one.name for number, one in enumerate(having)}
        sections.append({"title": direction_label(direction, names), "labels": labels, "rows": rows})
    return sections


def _of_one_order(compared: Sequence[ComparedSource], figures: "ComparedFigures") -> list[ComparedSource]:
    """Those that were measured and for which A is the same domain of the data set as for the first of them."""
    found = [one for one in compared if one.name in figures.evaluations and one.snapshot is not None]
    orders = [one.snapshot.data_direction for one in found if one.snapshot is not None]
    return [one for one, order in zip(found, orders, strict=True) if order == orders[0]]


def _copied(out: Path, stem: str, sources: Mapping[str, Path]) -> dict[str, dict[str, object]]:
    pictures: dict[str, dict[str, object]] = {}
    for kind, source in sources.items():
        name = f"images/{stem}-{kind}.png"
        shutil.copyfile(source, out / name)
        with Image.open(source) as image:
            pictures[kind] = {"source": name, "width": image.width, "height": image.height}
    return pictures
