"""What a translation keeps of its input: edges, and structure.

The structure of an image is how similar the features of any two of its places are (the self-similarity of Shechtman and
Irani 2007); Tumanyan et al. (2022, arXiv 2201.00424) compare it in a vision transformer, here it is compared in a
layer of an ImageNet network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cyclegan_dist.evaluation.scores import correlation, grey
from cyclegan_dist.networks.feature_layers import FeatureLayers
from cyclegan_dist.networks.pretrained import CONTENT_LAYERS

SIDE = 224  # pixels of a side that images are resized to, so that any have 28 x 28 places


def edges(images: Tensor) -> Tensor:
    """The magnitude of the gradient of the grey values, n x 1 x H x W in grey levels per pixel. Beyond its border an
    image has the values that it has there.
    """
    around = F.pad(grey(images), (1, 1, 1, 1), mode="replicate")
    right, down = around[:, :, 1:-1, 2:] - around[:, :, 1:-1, :-2], around[:, :, 2:, 1:-1] - around[:, :, :-2, 1:-1]
    return torch.hypot(right, down) / 2


def edge_correlation(one: Tensor, two: Tensor) -> list[float]:
    """Pearson's correlation of the edges of each image and its partner, 1 for the same edges; their strength does not
    matter. It is 1 for two images without edges, and 0 if only one has none.

    Args:
        one: n x C x H x W, uint8 or float32 in [-1, 1].
        two: as many images of the same height and width.
    """
    a, b = edges(one), edges(two)
    same = (a == b).flatten(1).all(1).tolist()
    return [1.0 if equal else found for equal, found in zip(same, correlation(a, b), strict=True)]


def self_similarity(features: Tensor) -> Tensor:
    """The cosine of the features of any two places of an image: n x hw x hw of n x D x h x w."""
    tokens = F.normalize(features.flatten(2), dim=1)
    return tokens.transpose(1, 2) @ tokens


class Structure:
    """Compares structure by features of `efficientnet_lite0` or `efficientnet_lite2`.

    Attributes:
        name: of the network.
    """

    def __init__(self, features: str, device: torch.device):
        self.name = features.partition(":")[0]
        self._layer, self._device = CONTENT_LAYERS[self.name], device
        self._layers = FeatureLayers(features, [self._layer], device)

    @torch.inference_mode()
    def change(self, one: Tensor, two: Tensor) -> list[float]:
        """The mean squared difference of the self-similarities of each image and its partner, 0 for equal images.

        Args:
            one: n x C x H x W uint8, C 1 or 3.
            two: as many images, perhaps of another size.
        """
        a, b = (self_similarity(self._features(images)) for images in (one, two))
        return (a - b).square().mean((1, 2)).tolist()

    def _features(self, images: Tensor) -> Tensor:
        x = images.to(self._device).float()
        x = F.interpolate(x, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 255)
        return self._layers(x / 127.5 - 1)[self._layer].float()
