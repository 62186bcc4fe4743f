"""Mid-level features of pretrained classifiers, as a loss compares them: VGG-16, EfficientNet-Lite."""

import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.networks.efficientnet_lite import normalised
from cyclegan_dist.networks.feature_layers import for_imagenet, read_layers
from cyclegan_dist.networks.pretrained import CONTENT_LAYERS, PACKAGED


class DeepFeatures:
    """Frozen features of stride 8: relu4_2 of VGG-16, or the last block of that stride of an EfficientNet-Lite.

    It is no module, so that a module that uses it neither trains nor saves it. Weights are read at the first call, to
    the device and type of its images.

    Args:
        features: `vgg16:FILE`, with a state dict of torchvision's VGG-16; or a network of `PACKAGED`, with `:FILE` for
            weights in a file.
        sha256: what FILE must hash to.
        size: pixels of a side that images are resized to, bilinearly; 0: they are not resized.
    """

    def __init__(self, features: str, sha256: str = "", size: int = 0):
        self._features, self._sha256, self._size = features, sha256, size
        self._network: nn.Module | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """N x C x H x W in [-1, 1], C 1 or 3, to N x D x h x w, in units of the features of images in [0, 255]: of the
        normalised images' features times 255 times their deviation, by which a network of ReLUs is homogeneous.

        Raises:
            UsageError: at the first call, if the weights cannot be read or are not those of the network.
        """
        if self._network is None:
            from torch._subclasses.fake_tensor import unset_fake_temporarily  # takes a second to load

            with unset_fake_temporarily():  # where memory is estimated, weights would be read as tensors without data
                layer = CONTENT_LAYERS[self._features.partition(":")[0]]
                _, network = read_layers(self._features, [layer], self._sha256)
                network.eval().requires_grad_(False)
            now = next(network.parameters())
            if (now.device, now.dtype) != (images.device, images.dtype):
                network = network.to(images.device, images.dtype)
            self._network = network
        x = (images.expand(-1, 3, -1, -1) + 1) * 127.5
        if self._size:
            x = F.interpolate(x, (self._size, self._size), mode="bilinear", align_corners=False)
        prepare, scale = (normalised, 128.0) if self._features.startswith(PACKAGED) else (for_imagenet, 255 * 0.226)
        return scale * self._network(prepare(x))
