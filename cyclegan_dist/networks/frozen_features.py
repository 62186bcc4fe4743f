"""Frozen features of a pretrained network that take part in a training."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_dist.networks.feature_layers import FeatureLayers


class FrozenFeatures:
    """`FeatureLayers` that are read at the first call, to the device of its images. The network has float64 if these
    have, else float32: under autocast the first images may be bfloat16, to which its weights must not be rounded.

    It is no module, so that a module that uses it neither trains nor saves it.

    Args:
        features: as for `FeatureLayers`.
        layers: names of those that are wanted.
        size: pixels of a side that images are resized to, bilinearly; 0: they are not resized.
    """

    def __init__(self, features: str, layers: Sequence[str], size: int = 0):
        self._features, self._layers, self._size = features, tuple(layers), size
        self._network: FeatureLayers | None = None

    def __call__(self, images: Tensor) -> list[Tensor]:
        """N x C x H x W in [-1, 1], C 1 or 3, to N x D x h x w for each layer.

        Raises:
            UsageError: at the first call, if the weights cannot be read, or if the images are too small.
        """
        dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
        if self._network is None:
            from torch._subclasses.fake_tensor import unset_fake_temporarily  # takes a second to load

            with unset_fake_temporarily():  # where memory is estimated, weights would be read as tensors without data
                self._network = FeatureLayers(self._features, self._layers, images.device, dtype=dtype)
        if self._size:
            images = F.interpolate(images, (self._size, self._size), mode="bilinear", align_corners=False)
        return list(self._network(images.to(dtype)).values())
