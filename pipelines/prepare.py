"""Turn two folders of images into a data set for training.

    python -m pipelines.prepare A_DIR B_DIR OUT [--names summer winter] [--load-size 286] [--validation 0.1]

A_DIR and B_DIR are folders, .zip or .tar(.gz) archives or folders in them (photos.zip/horses), Parquet files, several
of these divided by commas, cyclegan:horse2zebra/trainA, or hf:OWNER/NAME on the Hugging Face Hub. `--download
horse2zebra OUT` downloads and prepares a whole data set of the CycleGAN paper.

Folders are searched recursively for JPEG, PNG, WebP, BMP, TIFF, GIF and PNM files, and for `.npy` files of height x
width x channels. TIFF and `.npy` may have any number of channels. Images become upright, opaque and sRGB, or keep their
bytes if they are; `--load-size` makes them smaller first, so that training decodes less. The same folders give the same
bytes. OUT gets WebDataset tars and a Parquet manifest.

The same command goes on after an interruption. OUT may be a URL of object storage, as s3://BUCKET/NAME; `--ray` encodes
on a Ray cluster; `--append OLD` makes OUT the next version of the data set OLD.

`--validation 0.1` holds out a tenth of the images as OUT/val, on which training then evaluates its snapshots.

Values of more than 8 bits (integers of 16 or 32 bits, floats) are kept and get a range: `--white 4095` or `--white
p99.8` is what becomes 1 in training, `--black` what becomes -1.

`prepare leftImg8bit/train gtFine/train OUT --pairs cityscapes` prepares Cityscapes as the published script does.
"""

import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Self

import tyro
from rich.console import Console
from rich.progress import track

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.config.shipped import read_shipped
from cyclegan_dist.data.config import MANIFEST, VALIDATION
from cyclegan_dist.data.location import is_at
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.sources import PUBLISHED
from cyclegan_dist.errors import pipeline_command, run_command


@dataclass(frozen=True)
class Prepare(PrepareConfig):
    """Turn two folders of images into a data set for training."""

    a_dir: Annotated[Path, tyro.conf.arg(metavar="A_DIR")]
    """Images of domain A: a folder, a .zip or .tar(.gz) archive or `ARCHIVE.zip/FOLDER` in it, a Parquet file or a
    folder of them, or several of these divided by commas."""
    b_dir: Annotated[Path, tyro.conf.arg(metavar="B_DIR")]
    """Images of domain B."""
    download: str = ""
    """Download this data set of the CycleGAN paper and prepare it: `--download horse2zebra OUT`, without A_DIR and
    B_DIR. Its test images become OUT/test."""
    ray: bool = False
    """Read and encode on the Ray cluster of RAY_ADDRESS, or one of this machine's own: --workers is then the number of
    its processes, 0 one for each of its cores. A_DIR and B_DIR are on storage that all its nodes share."""


@dataclass(frozen=True)
class PrepareDownload(Prepare):
    """Download a data set of the CycleGAN paper and prepare it."""

    a_dir: tyro.conf.Suppress[Path] = field(default=Path(), kw_only=True)
    b_dir: tyro.conf.Suppress[Path] = field(default=Path(), kw_only=True)

    def part(self, name: str) -> Self:
        """What prepares its part `train`, or `test` as it was published."""
        a_dir, b_dir = (Path(f"{PUBLISHED}{self.download}/{name}{domain}") for domain in "AB")
        if name == "train":
            return replace(self, a_dir=a_dir, b_dir=b_dir)
        out = f"{self.out}/{name}"
        return replace(self, a_dir=a_dir, b_dir=b_dir, out=out, validation=0.0, dedup=False, exclude="")


def main() -> None:
    """Read the command line, prepare, and print what was made."""
    whole = any(argument.split("=")[0] == "--download" for argument in sys.argv[1:])
    config = parse_options(
        PrepareDownload if whole else Prepare, "prepare", __doc__, config=(tyro.conf.PositionalRequiredArgs,)
    )
    parts = [config.part("train"), config.part("test")] if isinstance(config, PrepareDownload) else [config]
    for part in parts:
        part.refuse_one_place()
        part.refuse_paths()
    if config.palette_name:
        read_shipped(config.palette_name, "palette")  # refuses a wrong name
    for part in parts:
        _prepare(part)


def _prepare(config: Prepare) -> None:
    # These load torch.
    from cyclegan_dist.config.palettes import open_palette
    from cyclegan_dist.data.manifest import Manifest, open_manifest
    from cyclegan_dist.data.prepare import prepare_at
    from cyclegan_dist.data.verify import copies, shared

    if config.ray:
        from cyclegan_dist.orchestration.preparing import ray_workers as workers  # loads ray
    else:
        from cyclegan_dist.data.workers import local_workers as workers
    console = Console(stderr=True)
    root = prepare_at(
        config,
        report=partial(console.print, soft_wrap=True, markup=False, highlight=False),
        progress=partial(track, console=console, disable=not console.is_terminal),
        palette=open_palette(config.palette_name) if config.palette_name else None,
        workers=workers,
    )
    found: list[Manifest] = []
    for part in (root, f"{root}/{VALIDATION}"):
        if is_at(f"{part}/{MANIFEST}"):
            found.append(manifest := open_manifest(part, ("sha256", "name")))
            labels = {domain: f"{name} ({domain})" for domain, name in manifest.domain_names.items()}
            sizes = ", ".join(f"{n} images of {labels.get(domain, domain)}" for domain, n in manifest.samples.items())
            pairs = f", {len(manifest.pairs())} pairs" if manifest.partly_paired else ""
            print(f"{sizes}{pairs} in {len(manifest.shards)} shards: {part}/{MANIFEST}")
    verify = f"{pipeline_command('verify')} {root}"
    if duplicates := copies(found[0]):
        print(f"{duplicates} images are byte for byte copies: {verify} lists them, and --dedup leaves them out")
    if len(found) == 2 and (both := shared(*found)):
        print(
            f"{len(both)} images of {found[1].root} are in {found[0].root} too, so that figures measured on them "
            f"flatter: {verify} --against {found[1].root} lists them",
            file=sys.stderr,
        )


if __name__ == "__main__":
    run_command(main)
