"""Translate images with a trained generator.

    python -m pipelines.translate RUN_DIR_or_SNAPSHOT INPUT OUTPUT --direction AB

INPUT is one image or a folder, of any sizes; OUTPUT gets the same file names, with the ending .npy where the
translation has other than 1 or 3 channels. Of a run, the newest snapshot is used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from cyclegan_dist.data.encode import write_image
from cyclegan_dist.data.files import EXTENSIONS, list_images, printable
from cyclegan_dist.data.images import PICTURES, UnreadableImageError, read_image, with_channels
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
    card = read_card(snapshot)
    channels, answer = (card["input_nc"], card["output_nc"])[:: 1 if command.direction == "AB" else -1]
    targets = _targets(command.input, command.output, answer)
    network = load_generator(snapshot, command.direction, _device(command.device))
    unreadable: list[Path] = []
    with Progress(console=CONSOLE, disable=not CONSOLE.is_terminal) as bar:
        task = bar.add_task(f"{snapshot.name} {command.direction}", total=len(targets))
        for batch in _batches(list(targets), channels, max(1, command.batch_size), unreadable):
            images = translate(network, torch.stack(list(batch.values())))
            for source, image in zip(batch, images, strict=True):
                _save(image, targets[source])
            bar.update(task, advance=len(batch))
    print(f"{len(targets) - len(unreadable)} images translated to {command.output}")
    return len(unreadable)


def _targets(source: Path, output: Path, channels: int) -> dict[Path, Path]:
    """For each input file, the file to write: below `output`, and no other's."""
    if source.is_dir():
        names = list_images(source)
        if not names:
            raise UsageError(f"{source} holds no images")
        targets = {source / name: output / _written_name(name, channels) for name in names}
        _refuse_outside(output, targets)
    elif not source.is_file():
        raise UsageError(f"{source} is neither an image nor a folder")
    elif output.is_dir():
        targets = {source: output / _written_name(source.name, channels)}
        _refuse_outside(output, targets)
    elif channels not in PICTURES and output.suffix.lower() != ".npy":
        raise UsageError(f"the translation has {channels} channels: give an OUTPUT that ends in .npy")
    else:
        targets = {source: output}
    _refuse_collisions(targets)
    return targets


def _written_name(name: str, channels: int) -> str:
    """The same, if the translation can be a file of that kind."""
    path = Path(name)
    if channels not in PICTURES:
        return str(path.with_suffix(".npy"))
    if path.suffix.lower() == ".npy":
        return str(path.with_suffix(".png"))
    return name if path.suffix.lower() in EXTENSIONS else f"{name}.png"


def _refuse_outside(output: Path, targets: dict[Path, Path]) -> None:
    """Links that lie in OUTPUT lead nothing out of it."""
    root = output.resolve()
    for target in targets.values():
        try:
            inside = target.resolve().is_relative_to(root)
        except (OSError, RuntimeError):  # a link to itself
            inside = False
        if not inside:
            raise UsageError(f"{printable(target)} is or lies behind a link out of {output}: remove the link")


def _refuse_collisions(targets: dict[Path, Path]) -> None:
    inputs, taken = {source.resolve() for source in targets}, dict[Path, Path]()
    for source, target in targets.items():
        if target.resolve() in inputs:
            raise UsageError(f"{printable(target)} would overwrite the input: choose another OUTPUT")
        other = taken.setdefault(target, source)
        if other != source:
            pair = f"{printable(other)} and {printable(source)}"
            raise UsageError(f"{pair} would both become {printable(target.name)}: rename one")


def _batches(
    sources: list[Path], channels: int, batch_size: int, unreadable: list[Path]
) -> Iterator[dict[Path, Tensor]]:
    """Neighbouring C x H x W images of equal size, up to batch_size together; files that cannot be read are added to a
    list.
    """
    batch: dict[Path, Tensor] = {}
    for source in sources:
        try:
            picture = read_image(source)
            image = with_channels(picture.pixels, channels)
        except UnreadableImageError as error:
            unreadable.append(source)
            _say(f"left out {printable(source)}: {error}")
            continue
        if picture.note:
            _say(f"{picture.note}: {printable(source)}")
        if batch and (len(batch) == batch_size or image.shape != next(iter(batch.values())).shape):
            yield batch
            batch = {}
        batch[source] = image
    if batch:
        yield batch


def _say(line: str) -> None:
    CONSOLE.print(line, soft_wrap=True, markup=False, highlight=False)


def _save(image: Tensor, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(image, path)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {printable(path)}: {error}") from error


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
