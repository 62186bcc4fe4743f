"""A run as a static page: held-out images with their translation and reconstruction, and how training went.

One folder with `index.html` and PNG files: it opens from disk, without a server, scripts or a network.
"""

import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from cyclegan_dist.data.encode import write_image
from cyclegan_dist.data.images import visible
from cyclegan_dist.models.inference import translate
from cyclegan_dist.networks.build import Generator
from cyclegan_dist.tracking.journal import read_records


@dataclass(frozen=True)
class Section:
    """Images of one direction.

    Attributes:
        title: heading.
        names: of the images.
        pictures: by label, for each image one C x H x W uint8. Of more than three channels three are shown.
    """

    title: str
    names: Sequence[str]
    pictures: Mapping[str, Sequence[Tensor]]


def there_and_back(forth: Generator, back: Generator, images: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """Input, translation and reconstruction of C x H x W uint8 images of any sizes."""
    translations = [translate(forth, image[None])[0] for image in images]
    reconstructions = [translate(back, image[None])[0] for image in translations]
    return {"input": list(images), "translation": translations, "reconstruction": reconstructions}


def write_gallery(
    out: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    journal: Path | None = None,
    figures: Sequence[Sequence[str]] = (),
    warnings: Sequence[str] = (),
) -> Path:
    """Write the page into the folder `out`.

    Args:
        out: folder to make or to fill.
        title: heading.
        facts: what to say above the pictures.
        sections: the pictures.
        journal: the run's `metrics.jsonl`, for the curves.
        figures: a table, its first row the headings.
        warnings: sentences about what looks wrong.

    Returns:
        The path of index.html.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    curves = _draw_curves(journal, out) if journal is not None else []
    template = jinja2.Environment(autoescape=True).from_string(
        importlib.resources.files("cyclegan_dist.evaluation").joinpath("gallery.html").read_text()
    )
    shown = [{"title": section.title, "rows": _rows(out, i, section)} for i, section in enumerate(sections)]
    columns = max(len(section.pictures) for section in sections)
    page = out / "index.html"
    content = {"title": title, "facts": facts, "sections": shown, "curves": curves, "columns": columns}
    page.write_text(template.render(content, figures=figures, warnings=warnings))
    return page


def _rows(out: Path, number: int, section: Section) -> list[dict[str, object]]:
    rows = []
    for i, name in enumerate(section.names):
        sources = {}
        for label, images in section.pictures.items():
            sources[label] = f"images/{number}-{i:04d}-{label}.png"
            write_image(visible(images[i]), out / sources[label])
        rows.append({"name": name, "pictures": sources})
    return rows


def _draw_curves(journal: Path, out: Path) -> list[str]:
    """Losses of generators, discriminators, and the learning rate, over images seen."""
    points = [record for record, _ in read_records(journal, 0) if record["kind"] == "metrics"]
    if not points:
        return []
    names = list(points[0]["values"])
    panels = {
        "adversarial": [n for n in names if n in ("loss/G_AB", "loss/G_BA", "loss/D_A", "loss/D_B")],
        "cycle and identity": [n for n in names if n.startswith(("loss/cycle", "loss/idt"))],
        "learning rate": ["lr/G"],
    }
    panels = {title: keys for title, keys in panels.items() if keys}
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 2.8), squeeze=False)
    for axis, (title, keys) in zip(axes[0], panels.items(), strict=True):
        for key in keys:
            axis.plot(
                [p["nimg"] for p in points], [p["values"][key] for p in points], label=key.split("/")[1], linewidth=1.2
            )
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("images seen", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(out / "losses.png", dpi=110)
    plt.close(figure)
    return ["losses.png"]


def mean_absolute_error(images: Sequence[Tensor], truths: Sequence[Tensor]) -> float:
    """Mean over images of the mean absolute difference, in grey levels of 255."""
    errors = [(image.float() - truth.float()).abs().mean() for image, truth in zip(images, truths, strict=True)]
    return float(torch.stack(errors).mean())
