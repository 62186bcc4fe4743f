"""The images of a data set as they are evaluated: decoded, brought to the generators' size, never cropped at random."""

import dataclasses
from pathlib import PurePath
from typing import Any

import numpy as np
from torch import Tensor

from cyclegan_dist.data.augment import Augment
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.images import decode
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.reader import ADVICE, BadSampleError, ShardReader
from cyclegan_dist.errors import UsageError


class DomainImages:
    """One domain's images, C x H x W uint8 or float32 in [-1, 1], by index, and their names."""

    def __init__(self, manifest: Manifest, domain: str, channels: int, config: DataConfig, multiple: int):
        self.domain, self.channels = domain, channels
        self._reader, self._augment = ShardReader(manifest, domain), Augment(config, multiple)
        self._values = manifest.values[domain]
        self._names = manifest.domains[domain]["name"]

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> Tensor:
        """Raises UsageError if the image is damaged: a figure of what is left would be another figure."""
        try:
            image = decode(self._reader.read(index), self.channels, self._values)
            return self._augment(image, np.random.default_rng(0))
        except (BadSampleError, OSError, ValueError) as error:
            raise UsageError(f"image {self.name(index)} of domain {self.domain}: {error}; {ADVICE}") from error

    def name(self, index: int) -> str:
        """Of the file it was made from, without its ending."""
        return str(PurePath(self._names[index].as_py()).with_suffix(""))

    def partners(self) -> dict[str, int]:
        """Index of each name."""
        return {self.name(index): index for index in range(len(self))}


def whole_images(preprocess: dict[str, Any], size: int) -> DataConfig:
    """How images are brought to the size that generators were trained on with `preprocess`, or to `size`: what
    training crops is resized to the crop's size instead, as the reference implementation does when it tests.
    """
    trained = {key: value for key, value in preprocess.items() if key in _GEOMETRY}
    config = DataConfig(**trained)
    if size or config.preprocess in ("resize_and_crop", "scale_width_and_crop"):
        side = size or config.crop_size
        return DataConfig(preprocess="resize_and_crop", load_size=side, crop_size=side, flip=False)
    whole = "none" if config.preprocess == "crop" else config.preprocess
    return dataclasses.replace(config, preprocess=whole, flip=False)


def describe_size(config: DataConfig) -> str:
    """What `Augment` does with images without a crop, in words."""
    sizes = {
        "resize_and_crop": f"resized to {config.load_size} x {config.load_size} pixels",
        "scale_width": f"resized to a width of {config.load_size} pixels",
    }
    return f"{sizes.get(config.preprocess, 'of their own sizes')} (bicubic, antialiased)"


_GEOMETRY = ("preprocess", "load_size", "crop_size")
