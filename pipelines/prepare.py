"""Turn two folders of images into a data set for training: WebDataset tars and a Parquet manifest.

    python -m pipelines.prepare A_DIR B_DIR OUT [--load-size 286] [--quality 95] [--pairs halves]

Folders are searched recursively for JPEG, PNG, WebP, BMP, TIFF, GIF and PNM files, and for `.npy` files of height x
width x channels, uint8 or uint16, which may have any number of channels. Images become 8-bit, upright and opaque, or
keep their bytes if they are; `--load-size` makes them smaller first, so that training decodes less. The same folders
give the same bytes.
"""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import tyro
from rich.console import Console
from rich.progress import track

from cyclegan_dist.data.encode import EncodedImage, Half, encode_file
from cyclegan_dist.data.files import list_files, list_images, printable
from cyclegan_dist.data.images import UnreadableImageError
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.shards import refuse_target, shuffled, write_dataset
from cyclegan_dist.data.verify import identical
from cyclegan_dist.errors import UsageError, run_command

CONSOLE = Console(stderr=True)
PIECE = 512


@dataclass(frozen=True)
class Prepare:
    """Turn two folders of images into a data set for training."""

    a_dir: tyro.conf.Positional[Path]
    """Images of domain A."""
    b_dir: tyro.conf.Positional[Path]
    """Images of domain B."""
    out: tyro.conf.Positional[Path]
    """Folder to make."""
    load_size: int | None = None
    """Pixels the shorter side is reduced to; images are never enlarged."""
    quality: int = 95
    """Quality of JPEGs that are encoded anew, 1 to 100."""
    samples_per_shard: int = 1000
    """Images in one tar."""
    max_bad_fraction: float = 0.01
    """Share of unreadable images, of either domain, from which on preparation fails instead of leaving them out."""
    seed: int = 0
    """Of the order of images in the shards."""
    workers: int = 0
    """Processes that read and encode. 0: one for each core."""
    overwrite: bool = False
    """Replace another data set at OUT."""
    pairs: Literal["none", "names", "halves"] = "none"
    """`names`: files of one name, but for its ending, show the same in both domains. `halves`: each file of A_DIR,
    given as B_DIR too, holds both side by side, A on the left. Training makes no use of it; evaluation does."""


def prepare(command: Prepare) -> Path:
    """Run it. Returns the manifest's path.

    Raises:
        UsageError: for a folder without images, too many bad ones, or an OUT that cannot be used.
    """
    if not 1 <= command.quality <= 100:
        raise UsageError(f"--quality {command.quality}: give 1 to 100")
    if command.samples_per_shard < 1 or (command.load_size is not None and command.load_size < 1):
        raise UsageError("--samples-per-shard and --load-size must be at least 1")
    refuse_target(command.out, overwrite=command.overwrite)
    folders = {"A": command.a_dir, "B": command.b_dir}
    names = {domain: _names(folder) for domain, folder in folders.items()}
    if command.pairs != "none":
        _refuse_unpaired(command, names)
    with ProcessPoolExecutor(
        command.workers or os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        encoded = {domain: _encoded(pool, command, domain, folder, names[domain]) for domain, folder in folders.items()}
        return write_dataset(
            encoded,
            command.out,
            samples_per_shard=command.samples_per_shard,
            overwrite=command.overwrite,
            paired=command.pairs != "none",
        )


def _refuse_unpaired(command: Prepare, names: dict[str, list[str]]) -> None:
    if command.pairs == "halves" and command.a_dir.resolve() != command.b_dir.resolve():
        raise UsageError("--pairs halves: give the folder of the double images twice, as A_DIR and as B_DIR")
    a, b = (Counter(str(Path(name).with_suffix("")) for name in names[domain]) for domain in "AB")
    if alone := sorted((a - b) | (b - a) | Counter(name for name in a if a[name] > 1)):
        raise UsageError(
            f"--pairs {command.pairs}: {printable(alone[0])} has no partner of its name, or several "
            f"({len(alone)} such names): remove or rename them"
        )


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give a folder of images")
    names = list_images(folder)
    if not names:
        raise UsageError(
            f"{folder} holds no images: give a folder with JPEG, PNG, WebP, BMP, TIFF, GIF, PNM or .npy files"
        )
    others = Counter(path.suffix.lower() or "no ending" for path in list_files(folder))
    others -= Counter(Path(name).suffix.lower() or "no ending" for name in names)
    if others:
        kinds = ", ".join(f"{n} with {kind}" for kind, n in others.most_common(5))
        _say(f"passed over in {printable(folder)}, no images by their names: {kinds}")
    return names


def _say(line: str) -> None:
    CONSOLE.print(line, soft_wrap=True, markup=False, highlight=False)


def _encoded(
    pool: ProcessPoolExecutor, command: Prepare, domain: str, folder: Path, names: list[str]
) -> Iterator[EncodedImage]:
    """The readable images of a folder in shard order; unreadable ones are reported, too many end it."""
    bad: list[str] = []
    order = shuffled(names, command.seed)
    half: Half = "" if command.pairs != "halves" else "left" if domain == "A" else "right"
    work = partial(_try_encode, folder, command.load_size, command.quality, half)
    # A piece at a time: no more is decoded ahead than is soon written, and after an error little is left to finish.
    pieces = (order[start : start + PIECE] for start in range(0, len(order), PIECE))
    results = (image for piece in pieces for image in pool.map(work, piece, chunksize=8))
    for image in track(results, f"{folder}", len(order), console=CONSOLE, disable=not CONSOLE.is_terminal):
        if isinstance(image, EncodedImage):
            if image.note:
                _say(f"{image.note}: {printable(folder / image.name)}")
            yield image
        else:
            bad.append(image)
            _say(f"left out {image}")
    if bad and command.pairs != "none":
        raise UsageError(f"{len(bad)} images in {folder} are unreadable, so their partners have none: remove the pairs")
    if len(bad) > command.max_bad_fraction * len(names):
        raise UsageError(
            f"{len(bad)} of {len(names)} images in {folder} are unreadable: mend or remove them, "
            f"or raise --max-bad-fraction {command.max_bad_fraction}"
        )


def _try_encode(folder: Path, load_size: int | None, quality: int, half: Half, name: str) -> EncodedImage | str:
    try:
        return encode_file(folder, name, load_size, quality, half)
    except UnreadableImageError as error:
        return f"{printable(folder / name)}: {error}"


def main() -> None:
    """Read the command line, prepare, and say what was made."""
    command = tyro.cli(Prepare, prog="python -m pipelines.prepare", description=__doc__)
    path = prepare(command)
    manifest = open_manifest(str(path.parent), ("sha256", "name"))
    sizes = ", ".join(f"{n} images of {domain}" for domain, n in manifest.samples.items())
    print(f"{sizes} in {len(manifest.shards)} shards: {path}")
    if twice := sum(len(names) - 1 for names in identical([manifest])):
        print(f"{twice} images are byte for byte another's: python -m pipelines.verify {path.parent} lists them")


if __name__ == "__main__":
    run_command(main)
