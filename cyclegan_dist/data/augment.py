"""The reference implementation's preprocessing of one image, uint8 or float32 in [-1, 1] (paper section 7.1: resize,
random crop, mirror).
"""

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from cyclegan_dist.data.config import DataConfig


class Augment:
    """Resize, crop and mirror as `DataConfig` says. The generators require sides that are multiples of `multiple`."""

    def __init__(self, config: DataConfig, multiple: int):
        self.config, self.multiple = config, multiple

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Cut one C x H x W image, uint8 or float32 in [-1, 1].

        Raises:
            ValueError: if it is smaller than the crop.
        """
        return self.cut(self.resize(image), rng)

    def resize(self, image: Tensor) -> Tensor:
        """The deterministic part: always the same for one image."""
        mode, size = self.config.preprocess, self.config.load_size
        if mode == "resize_and_crop":
            return _resize(image, size, size)
        if mode in ("scale_width", "scale_width_and_crop"):
            height = round(image.shape[1] * size / image.shape[2])
            return _resize(image, max(height, self.config.crop_size if mode == "scale_width_and_crop" else 1), size)
        return image

    def cut(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """The random part: crop and mirror a resized image.

        Raises:
            ValueError: if it is smaller than the crop.
        """
        image = self._crop(image, rng) if "crop" in self.config.preprocess else self._round(image)
        return image.flip(-1) if self.config.flip and rng.random() < 0.5 else image

    def _crop(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        height, width = image.shape[1:]
        side = self.config.crop_size
        if min(height, width) < side:
            raise ValueError(
                f"an image of {width}x{height} is smaller than crop_size {side}: lower crop_size, or raise load_size"
            )
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        return image[:, top : top + side, left : left + side]

    def _round(self, image: Tensor) -> Tensor:
        height, width = (max(self.multiple, round(side / self.multiple) * self.multiple) for side in image.shape[1:])
        return _resize(image, height, width)


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    if image.shape[1:] == (height, width):
        return image
    # A batch of one with the stride of a larger batch: torch then recognises a decoder's H x W x C layout and keeps it,
    # instead of converting it to C x H x W, which takes as long as resizing.
    batch = image.as_strided((1, *image.shape), (image.numel(), *image.stride()))
    resized = F.interpolate(batch, size=(height, width), mode="bicubic", antialias=True)[0]
    return resized.clamp_(-1, 1) if resized.is_floating_point() else resized  # 8 bits cannot go beyond white
