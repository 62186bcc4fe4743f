"""Data sets of a table: training images, validation images to choose checkpoints by, and test images."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from cyclegan_dist.config.palettes import open_palette
from cyclegan_dist.data.manifest import MANIFEST, READING, Manifest, open_manifest
from cyclegan_dist.errors import UsageError, pipeline_command

VALIDATION, TEST = "val", "test"
HELD_OUT = 10  # one of so many training images is held out where there is no part for validation
FEWEST = 4  # of which distances can be measured
DRAWN = {"": 400, TEST: 100, VALIDATION: 50}  # street scenes
DRAWN_SMOKE = {"": 24, TEST: 8, VALIDATION: 8}


@dataclass(frozen=True)
class Parts:
    """A data set with its parts.

    Attributes:
        path: of the training images.
        max_samples: first images of each domain that are trained on; 0: all.
        images: images of an epoch: those of the larger domain.
        parts: manifests of the images that are not trained on, by part: val and test.
    """

    path: str
    max_samples: int
    images: int
    parts: dict[str, Manifest]

    def facts(self) -> dict[str, Any]:
        """Numbers and digests, as JSON values."""
        held_out = f"{self.path}, from image {self.max_samples} of each domain on"
        return {
            "train": {"source": self.path, "max_samples": self.max_samples, "images_of_an_epoch": self.images},
            **{
                part: {
                    "source": held_out if part == VALIDATION and self.max_samples else manifest.root,
                    "samples": manifest.samples,
                    "digests": {domain: manifest.domain_digest(domain) for domain in "AB"},
                }
                for part, manifest in self.parts.items()
            },
        }


def open_parts(path: str) -> Parts:
    """The data set at `path`, a folder or URL, with its parts `val` and `test`. Without the former, a tenth of the
    training images is held out, the last ones in the order of the manifest; of domains of unequal size only as many
    images are then trained on as the smaller one has left.

    Raises:
        UsageError: if it or its part `test` is missing.
    """
    path = path if "://" in path else str(Path(path).absolute())
    columns = (*READING, "name")
    train, parts = open_manifest(path, columns), {}
    for part in (VALIDATION, TEST):
        try:
            parts[part] = open_manifest(f"{path}/{part}", columns)
        except UsageError as error:
            if part == TEST:
                raise UsageError(
                    f"{error}; a table is measured on images that were not trained on: prepare them as "
                    f"{path}/{TEST} with {pipeline_command('prepare')}"
                ) from error
    if VALIDATION in parts:
        return Parts(path, 0, max(train.samples.values()), parts)
    smaller = min(train.samples.values())
    kept = smaller - max(FEWEST, smaller // HELD_OUT)
    if kept < 1:
        raise UsageError(f"{path} has too few images to hold some out: prepare others as {path}/{VALIDATION}")
    rest = pa.concat_tables([train.domains[domain].slice(kept, smaller - kept) for domain in "AB"])
    return Parts(path, kept, kept, {VALIDATION: dataclasses.replace(train, table=rest), **parts})


def draw_streets(out: Path, size: int, *, smoke: bool) -> None:
    """Draw street scenes at `out` with their parts, unless they are there."""
    if (out / TEST / MANIFEST).exists() and (out / VALIDATION / MANIFEST).exists():
        return
    from cyclegan_dist.data.streets import write_streets

    counts = DRAWN_SMOKE if smoke else DRAWN
    write_streets(out, counts, open_palette("streets"), size=size, seed=0, overwrite=True)
