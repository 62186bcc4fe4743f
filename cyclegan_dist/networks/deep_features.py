"""Mid-level features of pretrained classifiers, as a loss compares them: VGG-16, EfficientNet-Lite."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.errors import UsageError
from cyclegan_dist.networks.efficientnet_lite import normalised, read_efficientnet_lite
from cyclegan_dist.networks.pretrained import PACKAGED
from cyclegan_dist.networks.weights import read_weights

STRIDE = 8  # of relu4_2
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as its networks want it


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
                network = _read(self._features, self._sha256).eval().requires_grad_(False)
            now = next(network.parameters())
            if (now.device, now.dtype) != (images.device, images.dtype):
                network = network.to(images.device, images.dtype)
            self._network = network
        x = (images.expand(-1, 3, -1, -1) + 1) * 127.5
        if self._size:
            x = F.interpolate(x, (self._size, self._size), mode="bilinear", align_corners=False)
        prepare, scale = (normalised, 128.0) if self._features.startswith(PACKAGED) else (for_imagenet, 255 * 0.226)
        return scale * self._network(prepare(x))


def for_imagenet(images: Tensor) -> Tensor:
    """N x 3 x H x W in [0, 255] as torchvision's networks want them."""
    # Channel by channel: a CUDA graph cannot copy a tensor of constants to the device.
    channels = [(images[:, i] / 255 - mean) / std for i, (mean, std) in enumerate(zip(_MEAN, _STD, strict=True))]
    return torch.stack(channels, dim=1)


def _read(features: str, sha256: str) -> nn.Module:
    name, _, file = features.partition(":")
    if name in PACKAGED:
        return _efficientnet_lite(name, file)
    _, weights = read_weights(Path(file), sha256)
    with torch.device("meta"):  # no random numbers are drawn for weights that are replaced
        network = _vgg16()
    kept = {key.removeprefix("features."): value for key, value in weights.items() if key.startswith("features.")}
    kept = {key: value for key, value in kept.items() if key in network.state_dict()}
    try:
        network.load_state_dict(kept, assign=True)
    except RuntimeError as error:
        raise UsageError(f"weights {file} are not those of torchvision's vgg16") from error
    return network


def _vgg16() -> nn.Sequential:
    """The layers up to relu4_2, numbered as in torchvision's `vgg16().features`."""
    layers: list[nn.Module] = []
    before = 3
    for channels in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512):
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()] if channels else [nn.MaxPool2d(2)]
        before = channels or before
    return nn.Sequential(*layers)


def _efficientnet_lite(name: str, file: str) -> nn.Module:
    """Stem and blocks up to the stride of relu4_2."""
    network = read_efficientnet_lite(name, file)
    stem: list[nn.Module] = [network._conv_stem, network._bn0, network._swish]
    blocks: list[nn.Module] = []
    stride = 2
    for block in network._blocks:
        stride *= block._depthwise_conv.stride[0]
        if stride > STRIDE:
            break
        blocks.append(block)
    return nn.Sequential(*stem, *blocks)
