"""Label maps: the FCN score's three figures (Long et al. 2015; section 5.1.1 of the paper).

In translations to label maps, each pixel has the class of the nearest colour of the palette, which is compared with the
true map. Translations to photographs are segmented by a network, and compared with the map they were made from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torchvision
from torch import Tensor, nn

from cyclegan_dist.config.yaml_tree import read_yaml
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.networks.deep_features import for_imagenet
from cyclegan_dist.networks.weights import read_weights


@dataclass(frozen=True, kw_only=True)
class Palette:
    """The classes of label maps.

    Attributes:
        domain: which domain holds the maps.
        classes: the colour of each, red, green, blue in 0 to 255.
    """

    domain: Literal["A", "B"]
    classes: dict[str, tuple[int, int, int]]

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise UsageError("a palette needs at least two classes")

    def labels(self, maps: Tensor) -> Tensor:
        """The class of each pixel of n x C x H x W uint8 maps: n x H x W."""
        colours = torch.tensor(list(self.classes.values()), dtype=torch.float32)
        pixels = maps.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).reshape(-1, 3).float()
        nearest = torch.cat([torch.cdist(some, colours).argmin(1) for some in pixels.split(1 << 20)])
        return nearest.view(len(maps), *maps.shape[2:])


def read_palette(path: str) -> Palette:
    """A palette out of a YAML file.

    Raises:
        UsageError: if it is not there or no palette.
    """
    from pydantic import TypeAdapter, ValidationError  # absent on a GPU machine that only measures distances

    try:
        return TypeAdapter(Palette).validate_python(read_yaml(Path(path).read_bytes(), f"palette {path}"))
    except OSError as error:
        raise UsageError(f"palette {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise UsageError(f"{path} is no palette: give domain: A or B, and classes with colours [r, g, b]") from error


def open_segmenter(name_and_file: str, classes: int, device: torch.device) -> nn.Module:
    """A torchvision segmentation network, `NAME:FILE`, with the weights of FILE, for so many classes.

    Raises:
        UsageError: if there is no such network, or the weights are another's.
    """
    name, _, file = name_and_file.partition(":")
    if name not in torchvision.models.list_models(torchvision.models.segmentation) or not file:
        raise UsageError(f"segmenter {name_and_file}: give NAME:FILE of a torchvision segmentation network")
    _, weights = read_weights(Path(file))
    helped = any(key.startswith("aux_classifier") for key in weights)
    network = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=classes, aux_loss=helped
    )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            f"the weights in {file} are not those of a {name} for the palette's {classes} classes"
        ) from error
    return network.to(device).eval().requires_grad_(False)


@torch.inference_mode()
def segmented(segmenter: nn.Module, photographs: Tensor, device: torch.device) -> Tensor:
    """The class that a segmenter gives each pixel of n x C x H x W uint8 photographs: n x H x W."""
    return segmenter(for_imagenet(photographs.expand(-1, 3, -1, -1).to(device)))["out"].argmax(1).cpu()


def confusion(truth: Tensor, found: Tensor, classes: int) -> Tensor:
    """Pixels by true (row) and found (column) class."""
    return torch.bincount(truth.flatten() * classes + found.flatten(), minlength=classes**2).view(classes, classes)


def scores_of(counts: Tensor, images: int) -> Mapping[str, Figure]:
    """Pixel accuracy, class accuracy and class IoU, the latter two as means over the classes that occur."""
    right, true, predicted = counts.diag().double(), counts.sum(1).double(), counts.sum(0).double()
    union = true + predicted - right
    values = {
        "pixel_accuracy": right.sum() / true.sum(),
        "class_accuracy": (right / true)[true > 0].mean(),
        "class_iou": (right / union)[union > 0].mean(),
    }
    return {name: Figure(float(value), n=images) for name, value in values.items()}
