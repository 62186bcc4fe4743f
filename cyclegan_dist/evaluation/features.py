"""Networks whose features images are compared by. Weights come from local files or packages, checked by their hash."""

import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from cyclegan_dist.config.features import check_features
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.download import downloaded
from cyclegan_dist.networks.efficientnet_lite import VARIANTS, efficientnet_lite
from cyclegan_dist.networks.feature_layers import for_imagenet
from cyclegan_dist.networks.pretrained import PACKAGED, refuse_missing_weights
from cyclegan_dist.networks.weights import read_weights

_HEADS = ("fc", "classifier", "heads", "head")  # what torchvision's networks call their last layer
INCEPTION = (  # published weights of the FID, TensorFlow's of 2015-12-05, and their sha256
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)


@dataclass(frozen=True)
class FeatureNetwork:
    """A network whose features images are compared by.

    Attributes:
        name: unique to network and weights; figures of different names cannot be compared.
        of: n x C x H x W uint8 images, C 1 or 3, on the network's device, to n x D float32 features on the CPU.
        head: n x D features to n x 1000 logits of ImageNet's classes, on the CPU; None if they are not known.
        sha256: of the file of weights; empty if there is none.
    """

    name: str
    of: Callable[[Tensor], Tensor]
    head: nn.Module | None = None
    sha256: str = ""

    @property
    def kernel(self) -> str:
        """What the kernel distance between its features is called."""
        return "kid" if self.name == "inception" else f"kd/{self.name}"

    @property
    def frechet(self) -> str:
        """What the Frechet distance is called."""
        return "fid" if self.name == "inception" else f"fd/{self.name}"


def feature_network(features: str, device: torch.device, sha256: str = "") -> FeatureNetwork:
    """The network that `features` names, on `device`.

    Args:
        features: `untrained`; `efficientnet_lite0` or `efficientnet_lite2`, with `:FILE` for weights of these in a file
            instead of the installed package; `inception`, with `:FILE` or downloaded once; or `NAME:FILE` of a
            torchvision network.
        device: where it is computed.
        sha256: what FILE must hash to; by default that of the published file, where it is known.

    Raises:
        UsageError: if there is no such network, package or file, the file is not what its hash promises, or it cannot
            be downloaded.
    """
    check_features(features)
    name, _, file = features.partition(":")
    if name == "untrained":
        return FeatureNetwork(name, _evaluating(_untrained(), device))
    if name in PACKAGED:
        network, head = efficientnet_lite(name, file)
        return FeatureNetwork(name, _evaluating(network, device), head.eval().requires_grad_(False), VARIANTS[name][1])
    if name == "inception":
        return FeatureNetwork(name, _evaluating(_inception(file, sha256), device), sha256=sha256 or INCEPTION[1])
    digest, weights = read_weights(Path(file), sha256)
    return FeatureNetwork(f"{name}-{digest[:8]}", _evaluating(_backbone(name, weights), device), sha256=digest)


def resizing(name: str) -> str:
    """How a `FeatureNetwork` of that name resizes the images that it gets, in words."""
    if name in VARIANTS:
        return f"which resizes to {VARIANTS[name][0]} pixels (bicubic, antialiased)"
    known = {"untrained": "which does not resize", "inception": "which resizes to 299 pixels (bilinear, TensorFlow's)"}
    return known.get(name, "which resizes to 224 pixels (bilinear, antialiased)")


def _evaluating(network: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    network.to(device).eval().requires_grad_(False)

    @torch.inference_mode()
    def of(images: Tensor) -> Tensor:
        return network(images.expand(-1, 3, -1, -1)).flatten(1).float().cpu()

    return of


def _backbone(name: str, weights: dict[str, Tensor]) -> nn.Module:
    """A torchvision network without its last layer."""
    try:
        network = torchvision.models.get_model(name, weights=None)
        network.load_state_dict(weights)
    except ValueError as error:
        raise UsageError(f"features {name}: torchvision has no network of that name") from error
    except RuntimeError as error:
        raise UsageError(f"the weights are not those of torchvision's {name}") from error
    head = next((head for head in _HEADS if hasattr(network, head)), None)
    if head is None:
        raise UsageError(f"features {name}: its last layer is not known; choose a classification network")
    setattr(network, head, nn.Identity())
    return nn.Sequential(OrderedDict(prepare=_ForImageNet(), network=network))


class _ForImageNet(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return for_imagenet(F.interpolate(images.float(), (224, 224), mode="bilinear", antialias=True))


class _Untrained(nn.Module):
    """Random convolutions at four scales: the mean of each channel, and how much it varies over the image."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 48, 64)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths))

    def forward(self, images: Tensor) -> Tensor:
        x, found = images.float() / 127.5 - 1, []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            found += [x.mean((2, 3)), x.std((2, 3))]
            x = F.avg_pool2d(x, 2) if min(x.shape[2:]) > 1 else x
        return torch.cat(found, 1)


def _untrained() -> nn.Module:
    network, rng = _Untrained(), torch.Generator().manual_seed(0)
    for layer in network.layers:
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        nn.init.kaiming_normal_(layer.weight, a=0.2, generator=rng)
        nn.init.normal_(layer.bias, std=0.1, generator=rng)
    return network


def _inception(file: str, sha256: str) -> nn.Module:
    """The network of the published FID, TensorFlow's, with its own way of resizing to 299."""
    refuse_missing_weights(f"inception:{file}" if file else "inception")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    url, published = INCEPTION
    if not file:
        file = str(downloaded(url, published, "features inception", "--features inception:FILE"))
    read_weights(Path(file), sha256 or published)
    try:  # it loads the file without weights_only, which `read_weights` has seen to be safe
        network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=file)
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(f"weights {file} are not those of the FID Inception (pt_inception-2015-12-05)") from error
    return _First(network)


class _First(nn.Module):
    """The first output of a network that gives several."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)[0]
