"""Galleries: static pages of a run, with held-out images, their translations and reconstructions, and loss curves.

One folder with `index.html` and PNG files: it opens from disk, without a server or a network. Without scripts, pictures
are links to their files; with them, a click compares two with a slider.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from cyclegan_dist.data.encode import write_image
from cyclegan_dist.data.images import visible, windowed
from cyclegan_dist.evaluation.scores import levels
from cyclegan_dist.models.translator import Translator
from cyclegan_dist.pages.curves import draw_curves
from cyclegan_dist.pages.template import page_script, page_template
from cyclegan_dist.tracking.journal import read_records


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
    content |= {"figures": figures, "warnings": warnings, **page_script("pages/compare.js", "evaluation/gallery.js")}
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
        lines = {key.split("/")[1]: [(point["nimg"], point["values"][key]) for point in points] for key in keys}
        files = draw_curves(title, lines, out, f"curves-{i}")
        ends = ", ".join(f"{key.split('/')[1]} {points[-1]['values'][key]:.3g}" for key in keys)
        curves.append({**files, "text": f"{title} over images seen; at {points[-1]['nimg']}: {ends}"})
    return curves


def mean_absolute_error(images: Sequence[Tensor], truths: Sequence[Tensor]) -> float:
    """Mean over images of the mean absolute difference, in grey levels of 255."""
    errors = [(levels(image) - levels(truth)).abs().mean() for image, truth in zip(images, truths, strict=True)]
    return float(torch.stack(errors).mean())
