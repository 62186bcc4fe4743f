"""Options of the preparation of a data set. Does not import torch, to keep `--help` fast."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclegan_dist.data.config import MANIFEST
from cyclegan_dist.errors import UsageError


@dataclass(frozen=True)
class PrepareConfig:
    """Turn two folders of images into a data set for training."""

    a_dir: Path
    """Images of domain A."""
    b_dir: Path
    """Images of domain B."""
    out: Path
    """Folder to create."""
    load_size: int | None = None
    """Pixels the shorter side is reduced to; images are never enlarged."""
    quality: int = 95
    """Quality of re-encoded JPEGs, 1 to 100."""
    samples_per_shard: int = 1000
    """Images in one tar."""
    max_bad_fraction: float = 0.01
    """Largest fraction of unreadable images in a domain that are left out; with more, preparation fails."""
    seed: int = 0
    """Seed of the order of images in the shards."""
    workers: int = 0
    """Processes that read and encode. 0: one per core."""
    overwrite: bool = False
    """Replace another data set at OUT."""
    pairs: Literal["none", "names", "halves"] = "none"
    """`names`: files with the same name, except for its extension, are pairs. `halves`: each file of A_DIR, which is
    also given as B_DIR, holds a pair side by side, A on the left. Required by paired methods and paired evaluation."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality}: give 1 to 100")
        if self.samples_per_shard < 1 or (self.load_size is not None and self.load_size < 1):
            raise UsageError("--samples-per-shard and --load-size must be at least 1")
        if self.pairs == "halves" and self.a_dir.resolve() != self.b_dir.resolve():
            raise UsageError("--pairs halves: give the folder of the double images twice, as A_DIR and as B_DIR")

    def refuse_paths(self) -> None:
        """Check before any work is done that the folders exist and `out` can be written.

        Raises:
            UsageError: naming the first path that does not fit.
        """
        for folder in (self.a_dir, self.b_dir):
            if not folder.is_dir():
                raise UsageError(f"{folder} is not a folder: give a folder of images")
        refuse_target(self.out, overwrite=self.overwrite)


def refuse_target(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that cannot become a data set.

    Raises:
        UsageError: if it is a file, or holds something else.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: choose another folder")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise UsageError(
            f"{out} is not empty and holds no data set: choose another folder"
            + (", it will not be overwritten" * overwrite)
        )
