"""Look at what a run has learned: images of both domains, their translations and reconstructions, as a static page.

    python -m pipelines.gallery RUN_DIR A_DIR B_DIR OUT [--count 24]

Give images that were not trained on. The page opens in any browser, without a server.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.registry.sources import refuse_missing_source
from cyclegan_dist.tracking.journal import JOURNAL

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Gallery:
    """Look at what a run has learned."""

    run_dir: tyro.conf.Positional[Path]
    """Folder of the run, or of a snapshot."""
    a_dir: tyro.conf.Positional[Path]
    """Images of domain A."""
    b_dir: tyro.conf.Positional[Path]
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
            raise UsageError(f"{folder} holds no images: give a folder of images")
    # These load torch.
    from cyclegan_dist.evaluation.gallery import Section, there_and_back, write_gallery
    from cyclegan_dist.models.snapshot import find_snapshot, load_generator, read_card

    snapshot = find_snapshot(command.run_dir)
    card = read_card(snapshot)
    G_AB, G_BA = (load_generator(snapshot, direction) for direction in ("AB", "BA"))
    sections = []
    for title, folder, channels, forth, back in (
        ("A to B", command.a_dir, card["input_nc"], G_AB, G_BA),
        ("B to A", command.b_dir, card["output_nc"], G_BA, G_AB),
    ):
        images = _images(folder, command.count, channels)
        sections.append(Section(title, list(images), there_and_back(forth, back, list(images.values()))))
    journal = command.run_dir / JOURNAL
    return write_gallery(
        command.out,
        title=str(card.get("run", snapshot.name)),
        facts={"snapshot": snapshot.name, "images seen": str(card.get("nimg", "unknown"))},
        sections=sections,
        journal=journal if journal.exists() else None,
    )


def _images(folder: Path, count: int, channels: int) -> "dict[str, Tensor]":
    """Up to `count` images by name, C x H x W uint8."""
    from cyclegan_dist.data.files import list_images, printable

    names = list_images(folder)
    if not names:
        raise UsageError(f"{folder} holds no images: give a folder of images")
    chosen = names[:: max(1, len(names) // max(1, count))][:count]
    return {printable(name): _decoded(folder / name, channels) for name in chosen}


def _decoded(path: Path, channels: int) -> "Tensor":
    from cyclegan_dist.data.files import printable
    from cyclegan_dist.data.images import UnreadableImageError, decode

    try:
        return decode(path, channels)
    except UnreadableImageError as error:
        raise UsageError(f"{printable(path)} cannot be shown: {error}; or remove it") from error


def main() -> None:
    """Read the command line and write the page."""
    print(f"gallery: {gallery(parse_options(Gallery, 'gallery', __doc__))}")


if __name__ == "__main__":
    run_command(main)
