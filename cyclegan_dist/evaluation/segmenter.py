"""Networks that segment photos into the classes of a palette, as files, for the FCN score.

Files that `pipelines.segmenter` writes are safetensors whose metadata is their card: network, classes, and how it was
trained. Those of others are state dicts of torchvision's segmentation networks.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cyclegan_dist.data.palette import Palette
from cyclegan_dist.data.resizing import resized
from cyclegan_dist.errors import UsageError, suggestion
from cyclegan_dist.networks.feature_layers import for_imagenet
from cyclegan_dist.networks.weights import read_weights
from cyclegan_dist.storage.files import atomic

SMALL = "fcn_small"
_CARD = "card"


@dataclass(frozen=True)
class Segmenter:
    """A scoring network.

    Attributes:
        name: of the network, and the beginning of its file's sha256; scores of different ones cannot be compared.
        network: from n x 3 x H x W, normalised as ImageNet's, to `out`, n x classes x H x W logits.
        device: where it is computed.
    """

    name: str
    network: nn.Module
    device: torch.device

    @torch.inference_mode()
    def __call__(self, photo: Tensor, size: tuple[int, int]) -> Tensor:
        """The class of each pixel of a C x H x W uint8 photo that is resized to `size` before: `size` int64."""
        pixels = resized_photos(photo[None], size).to(self.device)
        return self.network(for_imagenet(pixels))["out"].argmax(1)[0].cpu()


def resized_photos(photos: Tensor, size: tuple[int, int]) -> Tensor:
    """N x C x H x W uint8 photos as n x 3 x `size`, by Pillow's bilinear filter, which the published script uses."""
    if tuple(photos.shape[2:]) != size:
        photos = torch.stack([resized(photo, size, Image.Resampling.BILINEAR) for photo in photos])
    return photos.expand(-1, 3, -1, -1)


class SmallFCN(nn.Module):
    """Four stages of convolutions at strides 1, 2, 4 and 8, whose class scores are summed from coarse to fine, as in
    FCN-8s (Long et al. 2015); for photos of 32 to 128 pixels, for which torchvision's networks are large and coarse.
    """

    def __init__(self, classes: int, width: int = 24):
        super().__init__()
        widths = (3, width, 2 * width, 3 * width, 4 * width)
        self.stages = nn.ModuleList(_stage(before, after) for before, after in itertools.pairwise(widths))
        self.scores = nn.ModuleList(nn.Conv2d(after, classes, 1) for after in widths[1:])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found: list[Tensor] = []
        for stage, score in zip(self.stages, self.scores, strict=True):
            x = stage(F.max_pool2d(x, 2, ceil_mode=True) if found else x)
            found.append(score(x))
        out = found.pop()
        while found:
            finer = found.pop()
            out = finer + F.interpolate(out, tuple(finer.shape[2:]), mode="bilinear")
        return {"out": out}


def _stage(before: int, after: int) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def new_network(name: str, classes: int, auxiliary: bool = False) -> nn.Module:
    """`fcn_small`, or a torchvision segmentation network by its name, with random weights.

    Raises:
        UsageError: if there is no such network.
    """
    if name == SMALL:
        return SmallFCN(classes)
    known = torchvision.models.list_models(torchvision.models.segmentation)
    if name not in known:
        raise UsageError(f"no segmentation network {name}: {suggestion(name, known)}give {', '.join([SMALL, *known])}")
    options = {"aux_loss": auxiliary} if "lraspp" not in name else {}
    return torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=classes, **options)


def save_segmenter(network: nn.Module, card: Mapping[str, Any], path: Path) -> None:
    """Write a network and its card to the file `path`, atomically.

    Args:
        network: of `card["network"]`.
        card: JSON values; `network` is its name, and `classes` has names and colours in the order of the outputs.
        path: of the file.

    Raises:
        UsageError: if it cannot be written.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as draft:
            save_file(weights, draft, metadata={_CARD: json.dumps(card)})
    except (OSError, SafetensorError) as error:
        raise UsageError(f"cannot write {path}: {error}; choose another --out") from error


def open_segmenter(source: str, palette: Palette, device: torch.device) -> Segmenter:
    """The scoring network for the classes of a palette.

    Args:
        source: a file of `save_segmenter`, or `NAME:FILE`, a torchvision segmentation network and its state dict.
        palette: whose classes it tells apart.
        device: where it is computed.

    Raises:
        UsageError: if there is no such network or file, or its classes are others.
    """
    name, _, file = source.partition(":")
    if file and name in torchvision.models.list_models(torchvision.models.segmentation):
        digest, weights = read_weights(Path(file))
    else:
        file = source
        card, weights, digest = _read(source)
        name, expected = card["network"], [[key, list(colour)] for key, colour in palette.classes.items()]
        if card["classes"] != expected:
            theirs, ours = (", ".join(key for key, _ in classes) for classes in (card["classes"], expected))
            raise UsageError(f"{source} is for other classes ({theirs}) than the palette ({ours}), or other colours")
    network = new_network(name, len(palette.classes), any(key.startswith("aux_classifier") for key in weights))
    try:
        network.load_state_dict(weights)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise UsageError(
            f"the weights in {file} are not those of a {name} for the palette's {len(palette.classes)} classes"
        ) from error
    return Segmenter(f"{name}-{digest[:8]}", network.to(device).eval().requires_grad_(False), device)


def _read(source: str) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Card, weights and sha256 of a file of `save_segmenter`."""
    path = Path(source)
    try:
        with safe_open(path, "pt") as file:
            card = json.loads((file.metadata() or {})[_CARD])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
        return {"network": card["network"], "classes": card["classes"]}, weights, _sha256(path)
    except FileNotFoundError:
        raise UsageError(
            f"segmenter {source} is not there: give a file that the pipeline segmenter wrote, or NAME:FILE of a "
            "torchvision segmentation network"
        ) from None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"segmenter {source} is no file of the pipeline segmenter; of a torchvision network give NAME:FILE"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
