"""Options of the data set and its preprocessing. Does not import torch, to keep `--help` fast."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclegan_dist.errors import UsageError, refuse_password
from cyclegan_dist.networks.bounds import Ge, Gt, Le

MANIFEST = "manifest.parquet"  # the file that makes a folder a data set
VALIDATION = "val"  # a data set in a folder of that name, in another's: images to choose snapshots by
CHECKSUM = f"{MANIFEST}.sha256"  # beside it, as sha256sum writes and checks it
MAX_PIXELS = 50_000_000  # above this an image file is more likely a decompression bomb than a picture
MAX_FILE_BYTES = 256 << 20
PREFETCH = 4  # batches that each loader process prepares ahead
Preprocess = Literal["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"]
DataDirection = Literal["AtoB", "BtoA"]
DataPairing = Literal["random", "serial"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The shards to train on, and the reference implementation's preprocessing."""

    path: str = ""
    """Folder or fsspec URL of a data set, made by the pipeline `prepare`; `synthetic` draws the demo's two domains."""
    A: str = ""
    """Images of domain A, instead of a path: a local folder, an archive or a Parquet file, as for the pipeline
    `prepare`. They are prepared once with its default options into `runs_dir/.data`, which all nodes must share;
    images are reduced to load_size if training resizes them. A run keeps the images that it began with."""
    B: str = ""
    """Images of domain B, as A."""
    preprocess: Preprocess = "resize_and_crop"
    """`resize_and_crop`: resize to load_size x load_size, then crop randomly. `crop`: crop randomly. `scale_width`:
    resize to width load_size. `scale_width_and_crop`: both. `none`: keep the size. Without a crop, sides are those
    nearest to these that are multiples of what the generator requires; images are resampled once."""
    load_size: Annotated[int, Gt(0)] = 286
    """Size in pixels that images are resized to."""
    crop_size: Annotated[int, Gt(0)] = 256
    """Side of the random crop in pixels."""
    direction: DataDirection = "AtoB"
    """`BtoA`: domain A of the run is domain B of the data set, and the other way round, in all that the run reads and
    in what its snapshots are evaluated on."""
    max_samples: Annotated[int, Ge(0)] = 0
    """Train on the first images of each domain only, in the order of the manifest, at most so many. 0: on all."""
    pairing: DataPairing = "random"
    """`random`: each domain is shuffled on its own, and starts over on its own. `serial`: no shuffling; image i of an
    epoch is sample i of each domain, modulo its size. Methods that learn from pairs take B's partners of A in both."""
    max_pairs: Annotated[int, Ge(0)] = 0
    """Methods that learn from some pairs take the first so many, in the order of the manifest, the same in both
    directions. Refused for other methods. 0: all there are."""
    flip: bool = True
    """Mirror images left to right, with probability 0.5."""
    shuffle_window: Annotated[int, Gt(0)] = 16384
    """Number of samples that are shuffled uniformly. A larger domain is read in windows, each made of blocks from all
    over the shards."""
    max_bad_fraction: Annotated[float, Ge(0), Le(1)] = 0.0
    """Fraction of a domain's samples that may be damaged: each is replaced by another one and listed in
    bad_samples.jsonl. 0: the first one ends the run."""
    workers: Annotated[int, Ge(0)] = 2
    """Loader processes per rank. 0: the training process loads the images."""
    cache_gb: Annotated[float, Ge(0)] = 0.0
    """Gigabytes of disk in each node's TMPDIR in which its ranks cache decoded and resized images, so that later passes
    only crop them. 0: no cache. Requires `resize_and_crop`."""

    def __post_init__(self) -> None:
        refuse_password(self.path, "data.path")
        if bool(self.A) != bool(self.B):
            raise UsageError("give data.A and data.B together: a folder of images for each domain")
        if self.cache_gb and self.preprocess != "resize_and_crop":
            raise UsageError(
                f"data.cache_gb caches images of one size, which data.preprocess {self.preprocess} does not give: "
                "give cache_gb 0, or preprocess resize_and_crop"
            )
        if self.preprocess in ("resize_and_crop", "scale_width_and_crop") and self.crop_size > self.load_size:
            raise UsageError(
                f"crop_size {self.crop_size} is larger than load_size {self.load_size}: "
                f"give load_size at least {self.crop_size}"
            )
