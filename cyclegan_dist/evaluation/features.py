"""Networks whose features images are compared by. Weights come from local files, checked by their hash."""

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.config import EvaluationConfig

_HEADS = ("fc", "classifier", "heads", "head")  # what torchvision's networks call their last layer
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as its networks want it


@dataclass(frozen=True)
class Features:
    """A feature extractor.

    Attributes:
        kernel: what the kernel distance between its features is called.
        frechet: what the Frechet distance is called.
        of: n x 3 x H x W uint8 images to n x D features.
    """

    kernel: str
    frechet: str
    of: Callable[[Tensor], Tensor]


def open_features(config: EvaluationConfig, device: torch.device) -> Features:
    """The extractor that `config.features` names, on `device`.

    Raises:
        UsageError: if there is no such network or file, or the file is not what its hash promises.
    """
    name, _, file = config.features.partition(":")
    if name == "untrained":
        return _named("untrained", _untrained().to(device))
    if not file:
        raise UsageError(f"features {config.features}: give untrained, inception:FILE, or a torchvision NAME:FILE")
    digest, weights = read_weights(Path(file), config.features_sha256)
    if name == "inception":
        return Features("kid", "fid", _evaluating(_inception(file, device)))
    return _named(f"{name}-{digest[:8]}", _backbone(name, weights).to(device))


def _named(name: str, network: nn.Module) -> Features:
    return Features(f"kd/{name}", f"fd/{name}", _evaluating(network))


def _evaluating(network: nn.Module) -> Callable[[Tensor], Tensor]:
    network.eval().requires_grad_(False)

    @torch.inference_mode()
    def of(images: Tensor) -> Tensor:
        return network(images.expand(-1, 3, -1, -1)).flatten(1).float().cpu()

    return of


def read_weights(file: Path, sha256: str = "") -> tuple[str, dict[str, Tensor]]:
    """The file's hash, and the state dict in it. No code in it is run.

    Raises:
        UsageError: if it cannot be read, has another hash than `sha256`, or is no state dict.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"weights {file} cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 and digest != sha256.lower():
        raise UsageError(f"weights {file} have sha256 {digest}, not {sha256}: they are not what you trust")
    try:
        return digest, torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has many for what is no state dict
        raise UsageError(f"weights {file} are no state dict that can be loaded safely") from error


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


def for_imagenet(images: Tensor) -> Tensor:
    """N x 3 x H x W in [0, 255] as torchvision's networks want them."""
    mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (_MEAN, _STD))
    return (images.float() / 255 - mean) / std


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


def _inception(file: str, device: torch.device) -> nn.Module:
    """The network of the published FID, TensorFlow's, with its own way of resizing to 299."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise UsageError("features inception needs pip install 'cyclegan_dist[inception]'") from error
    try:  # it loads the file without weights_only, which `read_weights` has seen to be safe
        network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=file).to(device)
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
