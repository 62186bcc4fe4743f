"""Names of feature networks, and of the figures that are measured with them. Does not import torch."""

import re
from collections.abc import Iterable

from cyclegan_dist.errors import UsageError
from cyclegan_dist.networks.pretrained import PACKAGED


def check_features(features: str) -> None:
    """Refuse an unknown network.

    Raises:
        UsageError: saying what can be given.
    """
    name, _, file = features.partition(":")
    if not file and name not in ("untrained", "inception", *PACKAGED):
        known = f"untrained, {', '.join(PACKAGED)}, inception, or NAME:FILE of a torchvision network"
        raise UsageError(f"features {features}: give {known}")


def refuse_trained_with(features: str, trained_with: Iterable[str], what: str) -> None:
    """Refuse to evaluate with a network that took part in the training: translations that were made to please it say
    nothing by it.

    Args:
        features: the network of the evaluation, `NAME` or `NAME:FILE`.
        trained_with: networks of the training, in the same form.
        what: was trained with them, for the message.

    Raises:
        UsageError: with the network.
    """
    name = features.partition(":")[0]
    if name in {network.partition(":")[0] for network in trained_with}:
        raise UsageError(f"features {features}: {what} was trained with {name}, which cannot evaluate it: give another")


def network_of(figure: str) -> str:
    """The network that a figure is measured with, nothing if it takes none: `untrained` of `kd/untrained_AB`."""
    figure = re.sub("_(AB|BA|real_A|real_B)$", "", figure)
    if figure in ("kid", "fid"):
        return "inception"
    kind, _, rest = figure.partition("/")
    network = rest.partition("/")[0] if kind in ("kd", "fd", "diversity", "discriminant", "class_rate") else ""
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
