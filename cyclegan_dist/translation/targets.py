"""Tasks of a job: the file or shard that each input is written to."""

from pathlib import Path

from cyclegan_dist.data.arrays import PICTURES
from cyclegan_dist.data.files import EXTENSIONS, list_images, printable
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.verify import samples_by_shard
from cyclegan_dist.errors import UsageError
from cyclegan_dist.translation.job import Task


def file_tasks(source: Path, output: Path, channels: int) -> list[Task]:
    """A task for each image of the folder `source`, below `output`; or for the one file `source`.

    Args:
        source: a folder, which is searched recursively, or a file.
        output: a folder for a folder, a folder or a file for a file.
        channels: of the translations.

    Raises:
        UsageError: if there are no images, or if one would overwrite an input or another, or lie outside `output`.
    """
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
    return [Task(source=str(path), target=str(target)) for path, target in targets.items()]


def shard_tasks(manifest: Manifest, domain: str, output: Path) -> list[Task]:
    """A task for each shard of a domain, of the same name below `output`.

    Raises:
        UsageError: if one would lie outside `output`, or overwrite an input.
    """
    shards = [name for name, (found, _) in samples_by_shard(manifest).items() if found == domain]
    targets = {Path(manifest.root) / name: output / name for name in shards}
    _refuse_outside(output, targets)
    _refuse_collisions(targets)
    return [Task(source=name, target=str(output / name)) for name in shards]


def _written_name(name: str, channels: int) -> str:
    """The same, if the translation can be a file of that kind."""
    path = Path(name)
    if channels not in PICTURES:
        return str(path.with_suffix(".npy"))
    if path.suffix.lower() == ".npy":
        return str(path.with_suffix(".png"))
    return name if path.suffix.lower() in EXTENSIONS else f"{name}.png"


def _refuse_outside(output: Path, targets: dict[Path, Path]) -> None:
    """Links in OUTPUT must not lead out of it."""
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
