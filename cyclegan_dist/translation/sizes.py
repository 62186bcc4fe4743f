"""The size in which images are translated: their own, or one that training's preprocessing gives."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cyclegan_dist.data.augment import Augment
from cyclegan_dist.data.config import DataConfig, Preprocess
from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.errors import UsageError

FAR = 1.5  # a scale that differs by more from training's is worth a remark


def geometry(preprocess: Preprocess, load_size: int, crop_size: int, trained: Mapping[str, Any]) -> DataConfig:
    """How images are resized and cropped; 0 is a size that is not given.

    By default the crop is that of training, and modes that crop resize to the crop's size, as the reference
    implementation does when it tests; `scale_width` resizes to training's width.

    Raises:
        UsageError: if a size is given that `preprocess` does not use, or the crop is larger than the resized image.
    """
    if (load_size and preprocess in ("none", "crop")) or (crop_size and "crop" not in preprocess):
        given = f"--load-size {load_size}" if load_size else f"--crop-size {crop_size}"
        raise UsageError(f"{given}: --preprocess {preprocess} does not use it; give --preprocess resize_and_crop")
    crop = crop_size or trained.get("crop_size", 0) or DataConfig.crop_size
    load = load_size or (crop if preprocess != "scale_width" else trained.get("load_size", 0) or crop)
    return DataConfig(preprocess=preprocess, load_size=load, crop_size=crop, flip=False)


class Sizes:
    """Resizing and cropping of decoded images.

    Args:
        config: mode and sizes.
        trained: how images were prepared in training; empty if that is not known.
    """

    def __init__(self, config: DataConfig, trained: Mapping[str, Any]):
        self._config, self._resize = config, Augment(config, multiple=1).resize
        self._mode, self._size = trained.get("preprocess", "none"), trained.get("load_size", 0)

    def resized(self, image: Tensor) -> Tensor:
        """C x H x W, uint8 or float32 in [-1, 1], resized."""
        return self._resize(image)

    def cropped(self, image: Tensor) -> Tensor:
        """The centre of a resized image, if the mode crops.

        Raises:
            UnreadableImageError: if it is smaller than the crop.
        """
        if "crop" not in self._config.preprocess:
            return image
        (height, width), side = image.shape[1:], self._config.crop_size
        if min(height, width) < side:
            raise UnreadableImageError(f"{width}x{height} is smaller than the crop of {side}: lower --crop-size")
        top, left = (height - side) // 2, (width - side) // 2
        return image[:, top : top + side, left : left + side]

    def remark(self, height: int, width: int) -> str:
        """Empty, or a remark that training resized images to another scale than that of a resized image."""
        side = {"resize_and_crop": min(height, width)}.get(self._mode, width if "scale_width" in self._mode else 0)
        if not side or not self._size or 1 / FAR <= side / self._size <= FAR:
            return ""
        what = "their shorter side is" if self._mode == "resize_and_crop" else "they are"
        return (
            f"another scale than in training, where {what} {self._size} pixels "
            f"(--preprocess {self._mode} resizes them so)"
        )
