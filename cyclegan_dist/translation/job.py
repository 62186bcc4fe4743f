"""Translation jobs, as plain data that can be sent to other machines."""

from dataclasses import dataclass, field
from typing import Literal

from cyclegan_dist.data.config import MAX_PIXELS, Preprocess

Codec = Literal["auto", "h264", "h265", "vp9", "av1", "ffv1"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """How images are translated.

    Attributes:
        snapshot: folder of the generators, which every machine that takes part must be able to read.
        direction: from domain A to B, or from B to A.
        device: `cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU if there is one.
        batch_size: images of equal size that are computed at once.
        tile: images with a longer side, in pixels, are computed in tiles of this side; 0: none are.
        dataset: root of the data set whose shards are translated; empty if files are.
        extension: of the files that are written; empty: as the input, where that can be.
        max_pixels: of an image that is read, width times height.
        black: the value of images with more than 8 bits that is black; None: as in training.
        white: the one that is white.
        preprocess: how images are resized or cropped before; none: not at all.
        load_size: pixels that `preprocess` resizes to.
        crop_size: side of the crop in pixels, from the centre.
        codec: of video files that are written; auto: the usual one of the container.
        crf: their constant rate factor; 0 is the best quality.
    """

    snapshot: str
    direction: Literal["AB", "BA"]
    device: str = "auto"
    batch_size: int = 1
    tile: int = 0
    dataset: str = ""
    extension: str = ""
    max_pixels: int = MAX_PIXELS
    black: float | None = None
    white: float | None = None
    preprocess: Preprocess = "none"
    load_size: int = 256
    crop_size: int = 256
    codec: Codec = "auto"
    crf: int = 18

    @property
    def domain(self) -> str:
        """Of the images that are translated."""
        return self.direction[0]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One image or video file, or one shard.

    Attributes:
        source: the file; or the shard's name in the manifest.
        target: file to write.
    """

    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class TranslationResult:
    """The result of tasks.

    Attributes:
        written: number of images.
        left_out: a line for each image or video that could not be read, with the reason.
        notes: a line for each image that was read in part, a first frame for one.
        counts: how many images a remark applies to, by the remark.
        videos: number of videos.
        frames: of these.
    """

    written: int
    left_out: list[str]
    notes: list[str]
    counts: dict[str, int] = field(default_factory=dict)
    videos: int = 0
    frames: int = 0
