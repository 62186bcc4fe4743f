"""Names of feature networks, and of the figures that are measured with them. Does not import torch."""

import re
from collections.abc import Iterable, Sequence

from cyclegan_dist.errors import UsageError
from cyclegan_dist.networks.pretrained import PACKAGED

_MEASURED_WITH = ("kd", "fd", "diversity", "discriminant", "class_rate", "structure")  # kinds of figures


def check_features(features: str) -> None:
    """Refuse an unknown network.

    Raises:
        UsageError: saying what can be given.
    """
    name, _, file = features.partition(":")
    if not file and name not in ("untrained", "inception", *PACKAGED):
        known = f"untrained, {', '.join(PACKAGED)}, inception, or NAME:FILE of a torchvision network"
        raise UsageError(f"features {features}: give {known}")


def check_all_features(features: Sequence[str], sha256: str = "") -> None:
    """Refuse an unknown network, one that is given twice, none at all, and one `sha256` for several files.

    Raises:
        UsageError: saying what can be given.
    """
    if not features:
        raise UsageError("features: give at least one network, such as untrained")
    for one in features:
        check_features(one)
        if features.count(one) > 1:
            raise UsageError(f"features {one} is given twice: give each network once")
    if sha256 and len([one for one in features if ":" in one or one == "inception"]) > 1:
        raise UsageError("features_sha256 is that of one file, and several of features have one: leave it out")


def not_trained_with(features: Sequence[str], trained_with: Iterable[str], what: str) -> tuple[str, ...]:
    """The networks of an evaluation that took no part in the training: translations that were made to please a network
    say nothing by it.

    Args:
        features: the networks of the evaluation, `NAME` or `NAME:FILE`.
        trained_with: networks of the training, in the same form.
        what: was trained with them, for the message.

    Raises:
        UsageError: if none remains.
    """
    names = {network.partition(":")[0] for network in trained_with}
    kept = tuple(one for one in features if one.partition(":")[0] not in names)
    if kept:
        return kept
    found = " and ".join(one.partition(":")[0] for one in features)
    raise UsageError(
        f"features {' '.join(features)}: {what} was trained with {found}, which cannot evaluate it: give another"
    )


def network_of(figure: str) -> str:
    """The network that a figure is measured with, nothing if it takes none: `untrained` of `kd/untrained_AB`."""
    figure = re.sub("_(AB|BA|real_A|real_B)$", "", figure)
    if figure in ("kid", "fid"):
        return "inception"
    kind, _, rest = figure.partition("/")
    network = rest.partition("/")[0] if kind in _MEASURED_WITH else ""
    return re.sub("-[0-9a-f]{8}$", "", network)  # the hash of a torchvision network's weights


def refuse_other_features(figure: str, features: Sequence[str], option: str) -> None:
    """Refuse a figure of another network than `features`, because figures of two networks cannot be compared.

    Args:
        figure: name, with or without a direction.
        features: the networks that are in use.
        option: where the figure was given, for the message.

    Raises:
        UsageError: with a figure that fits.
    """
    if network_of(figure) in ("", *(one.partition(":")[0] for one in features)):
        return
    fitting = " or ".join(map(kernel_distance_of, features))
    given = " ".join(features)
    raise UsageError(f"{option} {figure} is not measured with features {given}: give {fitting}, or other features")


def kernel_distance_of(features: str) -> str:
    """What the kernel distance with a network is called, as far as its name says: a torchvision network's has the
    beginning of its file's hash where this has HASH.
    """
    name, _, file = features.partition(":")
    hashed = "-HASH" if file and name not in ("inception", *PACKAGED) else ""
    return "kid" if name == "inception" else f"kd/{name}{hashed}"
