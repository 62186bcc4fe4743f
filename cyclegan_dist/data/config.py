"""Where images come from and how they are cut. Free of torch, so that `--help` answers quickly."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from cyclegan_dist.errors import UsageError, refuse_password

MANIFEST = "manifest.parquet"  # the file that makes a folder a data set
MAX_PIXELS = 50_000_000  # above this an image file is more likely a decompression bomb than a picture
MAX_FILE_BYTES = 256 << 20
PREFETCH = 4  # batches that each loader process prepares ahead
Preprocess = Literal["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The shards to train on, and the reference implementation's preprocessing."""

    path: str = ""
    """Folder or fsspec URL of a data set, made by the pipeline `prepare`; `synthetic` draws the demo's two domains."""
    preprocess: Preprocess = "resize_and_crop"
    """`resize_and_crop`: to load_size x load_size, then a random crop. `crop`: a random crop. `scale_width`: to width
    load_size. `scale_width_and_crop`: both. `none`: only down to a multiple of what the generator needs."""
    load_size: Annotated[int, Gt(0)] = 286
    """Pixels images are resized to."""
    crop_size: Annotated[int, Gt(0)] = 256
    """Pixels of the random crop."""
    flip: bool = True
    """Mirror every other image left to right."""
    shuffle_window: Annotated[int, Gt(0)] = 16384
    """Samples that are shuffled evenly. A larger domain is read window after window, each of blocks of neighbours from
    all over the shards."""
    max_bad_fraction: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of a domain's samples that may turn out damaged: another takes the place of each, and bad_samples.jsonl
    says which. 0: the first one ends the run."""
    workers: Annotated[int, Ge(0)] = 2
    """Processes that read and decode, for each rank. 0: the training process itself."""
    cache_gb: Annotated[float, Ge(0)] = 0.0
    """Gigabytes of disk, where TMPDIR points, in which each rank keeps decoded and resized images, so that later passes
    only cut them out. 0: none. For `resize_and_crop`."""

    def __post_init__(self) -> None:
        refuse_password(self.path, "data.path")
        if self.cache_gb and self.preprocess != "resize_and_crop":
            raise UsageError(
                f"data.cache_gb keeps images of one size, which data.preprocess {self.preprocess} does not make: "
                "give cache_gb 0, or preprocess resize_and_crop"
            )
        if self.preprocess in ("resize_and_crop", "scale_width_and_crop") and self.crop_size > self.load_size:
            raise UsageError(
                f"crop_size {self.crop_size} is larger than load_size {self.load_size}: "
                f"give load_size at least {self.crop_size}"
            )
