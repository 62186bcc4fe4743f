"""Draw street scenes and their label maps, as data to try methods.

    python -m pipelines.palette OUT [--size 32] [--images 400] [--test-images 100]

OUT becomes a data set for training, and OUT/test another one for evaluation: photos (domain A) and label maps of eight
classes (domain B), all in pairs. Methods for unpaired images
do not use the pairs; paired methods and scores do. `--palette streets` names the classes of the maps.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.prepare_config import refuse_target
from cyclegan_dist.errors import UsageError, pipeline_command, run_command


@dataclass(frozen=True)
class DrawPalette:
    """Draw street scenes with known labels."""

    out: Annotated[Path, tyro.conf.Positional]
    """Folder to create."""
    size: int = 32
    """Pixels of a side."""
    images: int = 400
    """Scenes to train on."""
    test_images: int = 100
    """Scenes of OUT/test; 0: none."""
    seed: int = 0
    """The same seed gives the same bytes."""
    overwrite: bool = False
    """Replace another data set at OUT."""

    def __post_init__(self) -> None:
        if self.size < 16 or self.images < 1 or self.test_images < 0 or self.seed < 0:
            raise UsageError("give --size of at least 16, --images of at least 1, and no negative numbers")


def main() -> None:
    """Read the command line, draw, and print what was made."""
    command = parse_options(DrawPalette, "palette", __doc__)
    refuse_target(command.out, overwrite=command.overwrite)
    from cyclegan_dist.config.palettes import open_palette  # these load torch
    from cyclegan_dist.data.streets import write_streets

    counts = {"": command.images, "test": command.test_images}
    write_streets(
        command.out,
        {folder: count for folder, count in counts.items() if count},
        open_palette("streets"),
        size=command.size,
        seed=command.seed,
        overwrite=command.overwrite,
    )
    print(f"{command.images} scenes to train on, photos (A) and label maps (B): {command.out}")
    if command.test_images:
        print(f"{command.test_images} scenes to evaluate on: {command.out / 'test'}")
    segmenter = pipeline_command("segmenter")
    print(f"scoring network: {segmenter} {command.out} --palette streets --out {command.out}-segmenter.safetensors")


if __name__ == "__main__":
    run_command(main)
