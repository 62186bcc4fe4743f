"""The reference implementation's preprocessing of one image (paper section 7.1: resize, random crop, mirror)."""

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from cyclegan_dist.data.config import DataConfig


class Augment:
    """Resize, crop and mirror as `DataConfig` says. The generators require sides that are multiples of `multiple`."""

    def __init__(self, config: DataConfig, multiple: int):
        self.config, self.multiple = config, multiple

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Resize and cut one image, C x H x W uint8 or float32 in [-1, 1].

        Raises:
            ValueError: if it is smaller than the crop.
        """
        return self.cut(self.resize(image), rng)

    def resize(self, image: Tensor) -> Tensor:
        """The deterministic part: always the same for one image, which is resampled once at most."""
        mode, size, (height, width) = self.config.preprocess, self.config.load_size, image.shape[1:]
        if mode == "resize_and_crop":
            return _resize(image, size, size)
        if mode == "scale_width_and_crop":  # rounded down, as in the published code
            return _resize(image, int(max(height * size / width, self.config.crop_size)), size)
        if mode == "scale_width":
            return _resize(image, self._rounded(height * size / width), self._rounded(size))
        return image if mode == "crop" else _resize(image, self._rounded(height), self._rounded(width))

    def cut(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """The random part: crop and mirror a resized image.

        Raises:
            ValueError: if it is smaller than the crop.
        """
        if "crop" in self.config.preprocess:
            image = self._crop(image, rng)
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

    def _rounded(self, side: float) -> int:
        """The nearest side that the generators can take."""
        return max(self.multiple, round(side / self.multiple) * self.multiple)


def _resize(image: Tensor, height: int, width: int) -> Tensor:
    if image.shape[1:] == (height, width):
        return image
    # A batch of one with the stride of a larger batch: torch then recognises a decoder's H x W x C layout and keeps it,
    # instead of converting it to C x H x W, which takes as long as resizing.
    batch = image.as_strided((1, *image.shape), (image.numel(), *image.stride()))
    resized = F.interpolate(batch, size=(height, width), mode="bicubic", antialias=True)[0]
    # Bicubic weights are partly negative; of bytes, torch clips what they carry over the ends of the range.
    return resized.clamp_(-1, 1) if resized.is_floating_point() else resized
