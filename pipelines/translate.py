"""Translate images with a trained generator.

    python -m pipelines.translate RUN_DIR_or_SNAPSHOT INPUT OUTPUT --direction AB

INPUT is one image or a folder, of any sizes; OUTPUT gets the same file names. Of a run, the newest snapshot is used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from cyclegan_dist.data.images import COLOURS, UnreadableImageError, list_images, open_image
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.inference import translate
from cyclegan_dist.snapshot import find_snapshot, load_generator, read_card

CONSOLE = Console(stderr=True)


@dataclass(frozen=True)
class Translate:
    """Translate images with a trained generator."""

    model: tyro.conf.Positional[Path]
    """Folder of a run or of a snapshot."""
    input: tyro.conf.Positional[Path]
    """An image, or a folder of images, searched recursively."""
    output: tyro.conf.Positional[Path]
    """File for an image, folder for a folder."""
    direction: Literal["AB", "BA"] = "AB"
    """AB: from domain A to domain B."""
    batch_size: int = 1
    """Images of equal size that are computed at once."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."""


def run(command: Translate) -> int:
    """Translate. Returns the number of images that could not be read."""
    snapshot = find_snapshot(command.model)
    targets = _targets(command.input, command.output)
    card = read_card(snapshot)
    channels = card["input_nc"] if command.direction == "AB" else card["output_nc"]
    network = load_generator(snapshot, command.direction, _device(command.device))
    unreadable: list[Path] = []
    with Progress(console=CONSOLE, disable=not CONSOLE.is_terminal) as bar:
        task = bar.add_task(f"{snapshot.name} {command.direction}", total=len(targets))
        for batch in _batches(list(targets), max(1, command.batch_size), unreadable):
            pixels = torch.stack([pil_to_tensor(image.convert(COLOURS[channels])) for image in batch.values()])
            for source, image in zip(batch, translate(network, pixels), strict=True):
                _save(to_pil_image(image), targets[source])
            bar.update(task, advance=len(batch))
    print(f"{len(targets) - len(unreadable)} images translated to {command.output}")
    return len(unreadable)


def _targets(source: Path, output: Path) -> dict[Path, Path]:
    """For each input file, the file to write."""
    if source.is_dir():
        names = list_images(source)
        if not names:
            raise UsageError(f"{source} holds no images")
        targets = {source / name: output / name for name in names}
    elif source.is_file():
        targets = {source: output / source.name if output.is_dir() else output}
    else:
        raise UsageError(f"{source} is neither an image nor a folder")
    for path, target in targets.items():
        if target.resolve() == path.resolve():
            raise UsageError(f"{target} would overwrite the input: choose another OUTPUT")
    return targets


def _batches(sources: list[Path], batch_size: int, unreadable: list[Path]) -> Iterator[dict[Path, Image.Image]]:
    """Neighbouring images of equal size, up to batch_size together; files that cannot be read are added to a list."""
    batch: dict[Path, Image.Image] = {}
    for source in sources:
        try:
            image = open_image(source)
        except UnreadableImageError as error:
            unreadable.append(source)
            CONSOLE.print(f"left out {source}: {error}", soft_wrap=True, markup=False, highlight=False)
            continue
        if batch and (len(batch) == batch_size or image.size != next(iter(batch.values())).size):
            yield batch
            batch = {}
        batch[source] = image
    if batch:
        yield batch


def _save(image: Image.Image, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=95)  # read by JPEG and WebP, passed over by the others
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {path}: {error}") from error


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}") from error


def main() -> int:
    """Read the command line and translate. Returns 1 if an image could not be read."""
    return 1 if run(tyro.cli(Translate, prog="python -m pipelines.translate", description=__doc__)) else 0


if __name__ == "__main__":
    run_command(main)
