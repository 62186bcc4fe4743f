"""Convert generators from and to the published PyTorch code.

    python -m pipelines.convert checkpoints/horse2zebra OUT
    python -m pipelines.convert latest_net_G_A.pth OUT
    python -m pipelines.convert --back RUN_DIR_or_SNAPSHOT OUT

SOURCE is a checkpoint folder with latest_net_G_A.pth (our G_AB), latest_net_G_B.pth (our G_BA) or both, or one such
file. OUT becomes a snapshot that `pipelines.translate` takes, or, with `--back`, a folder with both files. The
architecture is inferred from the shapes. Nothing in the files is executed. The published code is that of
pytorch-CycleGAN-and-pix2pix.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.errors import UsageError, pipeline_command, run_command
from cyclegan_dist.registry.sources import open_source, refuse_missing_source
from cyclegan_dist.storage.files import atomic

if TYPE_CHECKING:
    import torch

LETTERS = {"AB": "A", "BA": "B"}  # by our direction, the letter of their network


@dataclass(frozen=True)
class Convert:
    """Convert generators from and to the published PyTorch implementation."""

    source: tyro.conf.Positional[str]
    """Folder of published checkpoints, or one file; with --back a run, a snapshot or models:/NAME@ALIAS."""
    out: tyro.conf.Positional[Path]
    """Folder to create."""
    direction: Literal["AB", "BA"] | None = None
    """Direction of a single file whose name does not end in G_A or G_B."""
    g_a: str = "latest_net_G_A.pth"
    """Name of G_A's file in the folder; 200_net_G_A.pth is that of epoch 200."""
    g_b: str = "latest_net_G_B.pth"
    """Name of G_B's file in the folder."""
    back: bool = False
    """Convert ours to the published format."""
    overwrite: bool = False
    """Replace what an earlier conversion wrote to OUT."""


def convert(command: Convert) -> Path:
    """Convert published files to a snapshot. Returns its folder.

    Raises:
        UsageError: if a file is not one of the published generators, the two do not fit each other, or OUT is taken.
    """
    files = _files(command)
    from cyclegan_dist.models.reference_weights import common_config, read_published  # these load torch
    from cyclegan_dist.models.snapshot import save_snapshot

    _refuse_taken(command.out, overwrite=command.overwrite)
    read = {direction: read_published(path) for direction, path in files.items()}
    config = common_config(read)
    networks = {direction: one.network for direction, one in read.items()}
    facts: dict[str, Any] = {
        "nimg": 0,  # the files do not have the number of images they were trained on
        "converted_from": {
            direction: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for direction, path in files.items()
        },
    }
    try:
        save_snapshot(command.out.absolute(), networks, config, facts)
    except OSError as error:
        raise UsageError(f"cannot write {command.out}: {error.strerror or error}") from error
    for direction, path in files.items():
        dropped = f", {read[direction].dropped} unused running statistics dropped" * bool(read[direction].dropped)
        print(f"{path} -> G_{direction}: {read[direction].description}{dropped}")
    return command.out


def convert_back(command: Convert) -> list[Path]:
    """Convert a snapshot to published files. Returns them.

    Raises:
        UsageError: if the published implementation has no such generator, or a file is there already.
    """
    refuse_missing_source(command.source)
    from cyclegan_dist.models.reference_weights import published_names, published_options  # these load torch

    snapshot = open_source(command.source)
    config = snapshot.generator_config
    names, written = published_names(config), []
    for direction in snapshot.directions:
        state = snapshot.generator(direction).state_dict()
        target = command.out / f"latest_net_G_{LETTERS[direction]}.pth"
        if target.exists() and not command.overwrite:
            raise UsageError(f"{target} exists: choose another OUT, or pass --overwrite")
        _save({names[key]: value for key, value in state.items()}, target)
        print(f"G_{direction} -> {target}: {published_options(config)}")
        written.append(target)
    return written


def _files(command: Convert) -> dict[str, Path]:
    """The file of each direction that is there."""
    source = Path(command.source)
    if not source.exists():
        raise UsageError(f"{source} does not exist: give a folder of published checkpoints, or one file")
    if source.is_dir():
        files = {"AB": source / command.g_a, "BA": source / command.g_b}
        found = {direction: path for direction, path in files.items() if path.exists()}
        if not found:
            raise UsageError(f"{source} holds neither {command.g_a} nor {command.g_b}: name them with --g-a and --g-b")
        return found
    endings = {f"G_{letter}": direction for direction, letter in LETTERS.items()}
    direction = command.direction or endings.get(source.stem[-3:])
    if direction is None:
        raise UsageError(f"{source.name} may be either generator: add --direction AB (their G_A) or BA")
    return {direction: source}


def _refuse_taken(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that is not empty, unless it holds an earlier conversion and `overwrite` is set."""
    from cyclegan_dist.models.snapshot import CARD, Snapshot

    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    converted = (out / CARD).exists() and "converted_from" in Snapshot.open(out).card
    if not (overwrite and converted):
        advice = ", or pass --overwrite" if converted else ""
        raise UsageError(f"{out} is not empty: choose another folder{advice}")


def _save(state: "dict[str, torch.Tensor]", target: Path) -> None:
    import torch

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic(target) as draft:
            torch.save(state, draft)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"cannot write {target}: {error}") from error


def main() -> None:
    """Read the command line and convert."""
    command = parse_options(Convert, "convert", __doc__)
    if command.back:
        convert_back(command)
    else:
        folder = convert(command)
        print(f"snapshot: {folder}; now: {pipeline_command('translate')} {folder} IMAGES OUT")


if __name__ == "__main__":
    run_command(main)
