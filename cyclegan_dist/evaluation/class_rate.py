"""The share of images that an ImageNet classifier calls by a certain name."""

import re

import torch
import torchvision
from torch import Tensor

from cyclegan_dist.errors import UsageError, suggestion
from cyclegan_dist.evaluation.features import FeatureNetwork
from cyclegan_dist.evaluation.figures import Share

# In the order of a classifier's outputs.
IMAGENET_CLASSES: list[str] = torchvision.models.EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]


def class_index(name: str) -> int:
    """Index of an ImageNet class, given as name or index: 340 of `zebra` and of `340`.

    Raises:
        UsageError: if there is no such class.
    """
    if name in IMAGENET_CLASSES:
        return IMAGENET_CLASSES.index(name)
    if name.isdecimal() and int(name) < len(IMAGENET_CLASSES):
        return int(name)
    raise UsageError(f"class_rate {name}: {suggestion(name, IMAGENET_CLASSES)}give a class of ImageNet, or its index")


def class_rate_key(network: FeatureNetwork, name: str) -> str:
    """What a class rate is called, without a direction: `class_rate/efficientnet_lite0/zebra`, of letters, digits and
    dashes behind the last slash, since MLflow does not allow all that occurs in names.
    """
    return f"class_rate/{network.name}/{re.sub('[^A-Za-z0-9]+', '-', IMAGENET_CLASSES[class_index(name)])}"


def class_rate(network: FeatureNetwork, features: Tensor, name: str) -> Share:
    """The share of images for which a class has the largest of the 1000 logits.

    Args:
        network: a classifier, which `efficientnet_lite0` and `efficientnet_lite2` are.
        features: n x D, what `network.of` gives for the images.
        name: of the class, or its index.

    Raises:
        UsageError: if there is no such class, or the network has no classes.
    """
    if network.head is None:
        raise UsageError(f"class_rate: the network {network.name} has no classes")
    with torch.inference_mode():
        hits = network.head(features).argmax(1) == class_index(name)
    return Share.mean(hits.double().tolist())
