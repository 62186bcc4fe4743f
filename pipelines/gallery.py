"""Write a page of images, their translations and reconstructions.

    python -m pipelines.gallery RUN_DIR A_DIR B_DIR OUT [--count 24]

Give images that were not trained on. Of a model of one direction, only that domain's images are shown. The page opens
in any browser, without a server.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.files import list_images, printable
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.registry.sources import refuse_missing_source
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import JOURNAL

if TYPE_CHECKING:
    from torch import Tensor

    from cyclegan_dist.models.translator import Translator


@dataclass(frozen=True)
class Gallery:
    """Show what a run has learned."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Folder of the run, or of a snapshot."""
    a_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A_DIR")]
    """Images of domain A."""
    b_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B_DIR")]
    """Images of domain B."""
    out: tyro.conf.Positional[Path]
    """Folder for the page."""
    count: int = 24
    """Images of each domain, evenly spaced over the folder."""


def gallery(command: Gallery) -> Path:
    """Write the page. Returns the path of index.html."""
    refuse_missing_source(str(command.run_dir))
    for folder in (command.a_dir, command.b_dir):
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}: give a folder of images")
        if not list_images(folder):
            raise UsageError(f"{folder} holds no images: give a folder of images")
    # These load torch.
    from cyclegan_dist.data.domain_names import direction_label, picture_labels
    from cyclegan_dist.evaluation.gallery import Section, translated, write_gallery
    from cyclegan_dist.models.snapshot import Snapshot
    from cyclegan_dist.models.translator import open_translators
    from cyclegan_dist.training.run_folder import read_config

    snapshot = Snapshot.open(command.run_dir)
    translators, sections = open_translators(snapshot), []
    for direction, translator in translators.items():
        images = _images(command.a_dir if direction == "AB" else command.b_dir, command.count, translator)
        pictures = translated(translators, direction, list(images.values()))
        title = direction_label(direction, snapshot.domain_names)
        labels = picture_labels(direction, snapshot.domain_names)
        sections.append(Section(title, list(images), pictures, labels))
    journal = command.run_dir / JOURNAL
    is_run = RunFolder(command.run_dir).config.exists()
    return write_gallery(
        command.out,
        title=str(snapshot.card.get("run", snapshot.folder.name)),
        facts={"snapshot": snapshot.folder.name, "images seen": str(snapshot.card.get("nimg", "unknown"))},
        sections=sections,
        journal=journal if journal.exists() else None,
        panels=read_config(command.run_dir).method.panels if is_run else None,
    )


def _images(folder: Path, count: int, translator: "Translator") -> "dict[str, Tensor]":
    """Up to `count` decoded images by name."""
    names = list_images(folder)
    chosen = names[:: max(1, len(names) // max(1, count))][:count]
    return {printable(name): _decoded(folder / name, translator) for name in chosen}


def _decoded(path: Path, translator: "Translator") -> "Tensor":
    from cyclegan_dist.data.images import UnreadableImageError

    try:
        return translator.decode(path)
    except UnreadableImageError as error:
        raise UsageError(f"{printable(path)} cannot be shown: {error}; or remove it") from error


def main() -> None:
    """Read the command line and write the page."""
    print(f"gallery: {gallery(parse_options(Gallery, 'gallery', __doc__))}")


if __name__ == "__main__":
    run_command(main)
