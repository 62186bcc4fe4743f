"""Galleries: static pages of a run, with held-out images, their translations and reconstructions, and loss curves.

One folder with `index.html` and PNG files: it opens from disk, without a server or a network. Without scripts, pictures
are links to their files; with them, a click compares two with a slider.
"""

import base64
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.text import Text
from torch import Tensor

from cyclegan_dist.data.encode import write_image
from cyclegan_dist.data.images import visible, windowed
from cyclegan_dist.evaluation.scores import levels
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.pages.template import page_template
from cyclegan_dist.tracking.journal import read_records

_INK = {"light": "#3c3f44", "dark": "#c9cdd2"}  # of text in curves, for pages of both colour schemes
_LINES = ("#4c8df0", "#e8833a", "#3aa676", "#b46ad8", "#d65a78", "#8a8f98")  # on white and on black


@dataclass(frozen=True)
class Section:
    """Images of one direction.

    Attributes:
        title: heading.
        names: of the images.
        pictures: by label, for each image one C x H x W, uint8 or float32 in [-1, 1]. Of more than three channels three
            are shown.
        labels: what people read instead of such a label, as of `picture_labels`.
    """

    title: str
    names: Sequence[str]
    pictures: Mapping[str, Sequence[Tensor]]
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


def translated(
    translators: Mapping[str, Translator], direction: str, images: Sequence[Tensor]
) -> dict[str, list[Tensor]]:
    """Pictures for a `Section`: input, translation and, if there is a translator back, reconstruction.

    Args:
        translators: by direction.
        direction: of the translations.
        images: as of `Translator.decode`, of any sizes.
    """
    pictures = {"input": list(images), "translation": [_alone(translators[direction], image) for image in images]}
    if back := translators.get(direction[::-1]):
        pictures["reconstruction"] = [_alone(back, image) for image in pictures["translation"]]
    return pictures


def _alone(translator: Translator, image: Tensor) -> Tensor:
    return translator.translate_batch([image])[0]


def write_gallery(
    out: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    journal: Path | None = None,
    panels: Mapping[str, Sequence[str]] | None = None,
    figures: Sequence[Sequence[str]] = (),
    warnings: Sequence[str] = (),
) -> Path:
    """Write the page into the folder `out`.

    Args:
        out: folder to make or to fill.
        title: heading.
        facts: shown above the pictures.
        sections: the pictures.
        journal: the run's `metrics.jsonl`, for the curves.
        panels: titles of curves and the losses in each, as a method's configuration has them.
        figures: a table, its first row the headings.
        warnings: sentences about what looks wrong.

    Returns:
        The path of index.html.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    curves = _draw_curves(journal, panels or {}, out) if journal is not None else []
    shown = [
        {"title": section.title, "labels": section.labels, "rows": _rows(out, i, section)}
        for i, section in enumerate(sections)
    ]
    columns = max(len(section.pictures) for section in sections)
    page = out / "index.html"
    content = {"title": title, "facts": facts, "sections": shown, "curves": curves, "columns": columns}
    script = "\n".join(page_template(name).render() for name in ("pages/compare.js", "evaluation/gallery.js"))
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()  # the only script that may run
    content |= {"figures": figures, "warnings": warnings, "script": script, "script_hash": script_hash}
    page.write_text(page_template("evaluation/gallery.html").render(content))
    return page


def _rows(out: Path, number: int, section: Section) -> list[dict[str, object]]:
    rows = []
    for i, name in enumerate(section.names):
        pictures = {}
        for label, images in section.pictures.items():
            image = windowed(visible(images[i]))
            source = f"images/{number}-{i:04d}-{label}.png"
            write_image(image, out / source)
            pictures[label] = {"source": source, "width": image.shape[-1], "height": image.shape[-2]}
        rows.append({"name": name, "pictures": pictures})
    return rows


def _draw_curves(journal: Path, panels: Mapping[str, Sequence[str]], out: Path) -> list[dict[str, str]]:
    """Losses and learning rates over images seen: for each panel its pictures, and its last values in words."""
    points = [record for record, _ in read_records(journal, 0) if record["kind"] == "metrics"]
    if not points:
        return []
    found = list(points[0]["values"])
    keys_by_title = {title: [f"loss/{name}" for name in names] for title, names in panels.items()}
    keys_by_title["learning rate"] = [key for key in found if key.startswith("lr/")]
    shown = {title: kept for title, keys in keys_by_title.items() if (kept := [key for key in keys if key in found])}
    curves = []
    for i, (title, keys) in enumerate(shown.items()):
        files = {scheme: f"curves-{i}-{scheme}.png" for scheme in _INK}
        _draw_panel(title, keys, points, {out / file: _INK[scheme] for scheme, file in files.items()})
        ends = ", ".join(f"{key.split('/')[1]} {points[-1]['values'][key]:.3g}" for key in keys)
        curves.append({**files, "text": f"{title} over images seen; at {points[-1]['nimg']}: {ends}"})
    return curves


def _draw_panel(title: str, keys: Sequence[str], points: Sequence[dict[str, Any]], colours: Mapping[Path, str]) -> None:
    """One picture for each path, with text of that colour."""
    figure, axis = plt.subplots(figsize=(4.8, 3.2))
    nimg = [point["nimg"] for point in points]
    for key, colour in zip(keys, itertools.cycle(_LINES)):
        axis.plot(nimg, [p["values"][key] for p in points], label=key.split("/")[1], linewidth=1.2, color=colour)
    axis.set_title(title, fontsize=11, loc="left")
    axis.set_xlabel("images seen", fontsize=9)
    axis.tick_params(labelsize=9, length=0)
    axis.spines[:].set_visible(False)
    axis.grid(axis="y", color="#85898f", alpha=0.3, linewidth=0.8)
    axis.set_ylim(bottom=0)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 4, "columnspacing": 1.2}
    axis.legend(fontsize=9, frameon=False, handlelength=1.2, **below)
    for path, ink in colours.items():
        for text in figure.findobj(Text):
            text.set_color(ink)
        figure.savefig(path, dpi=150, transparent=True, bbox_inches="tight")
    plt.close(figure)


def mean_absolute_error(images: Sequence[Tensor], truths: Sequence[Tensor]) -> float:
    """Mean over images of the mean absolute difference, in grey levels of 255."""
    errors = [(levels(image) - levels(truth)).abs().mean() for image, truth in zip(images, truths, strict=True)]
    return float(torch.stack(errors).mean())
