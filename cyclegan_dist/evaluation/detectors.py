"""Known failures of image translation. A finding is for a person to look at, and may veto a promotion."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cyclegan_dist.data.domain_names import NO_NAMES, Names, direction_label

NOTHING_LEVELS = 3.0  # grey levels: less is not visible
COLLAPSED_SHARE = 0.2  # of the real images' spread
INVERTED_CORRELATION = -0.3
WON_LOSS = 0.02  # of a least-squares discriminator; it is 0.25 where real and generated look the same
LAST_RECORDS = 20
KEPT_CORRELATION = 0.8
REACHED_SHARE = 0.5  # of the way to the real images of the target
DETECTORS = ("do-nothing", "collapsed", "inverted", "discriminator-won", "minimal-change", "exchanged-classes")
VETOES = DETECTORS[:4]  # the others may be all that can be had for a data set


@dataclass(frozen=True)
class Detection:
    """Something that looks wrong.

    Attributes:
        name: one of `DETECTORS`.
        direction: AB or BA.
        text: a sentence with the figure, and what helps.
    """

    name: str
    direction: str
    text: str


def do_nothing(direction: str, change: float, names: Names = NO_NAMES) -> list[Detection]:
    """`change`: mean absolute difference of translations to their inputs, in grey levels."""
    if change >= NOTHING_LEVELS:
        return []
    text = (
        f"translation {direction_label(direction, names)} changes its input by {change:.1f} grey levels of 255: train "
        "longer, or lower the weight of the identity loss if there is one"
    )
    return [Detection("do-nothing", direction, text)]


def diversity(fake: Tensor, real: Tensor) -> float:
    """The spread of n x D features of translations as a share of that of real images of the domain they should be of: 0
    if all translations are alike, 1 if they differ as much as real images do.
    """
    spread, wanted = (float(x.var(0).sum().sqrt()) for x in (fake, real))
    return spread / wanted if wanted else 1.0


def collapsed(direction: str, fake: Tensor, real: Tensor, names: Names = NO_NAMES) -> list[Detection]:
    """From n x D features of translations and of real images of the domain they should be of."""
    share = diversity(fake, real)
    if share >= COLLAPSED_SHARE:
        return []
    text = (
        f"translations {direction_label(direction, names)} differ {100 * share:.0f} % as much as real images do: all "
        "inputs give nearly one output; train longer if it has seen few images, else lower the weight of the "
        "adversarial loss, or start with another seed"
    )
    return [Detection("collapsed", direction, text)]


def inverted(direction: str, correlation: float, names: Names = NO_NAMES) -> list[Detection]:
    """`correlation`: mean, between the grey values of input and translation."""
    if correlation > INVERTED_CORRELATION:
        return []
    text = (
        f"translation {direction_label(direction, names)} turns dark into bright (correlation {correlation:.2f}): "
        "raise the weight of the identity loss if there is one, or start with another seed"
    )
    return [Detection("inverted", direction, text)]


def minimal_change(direction: str, reached: float, correlation: float, names: Names = NO_NAMES) -> list[Detection]:
    """What the paper shows of changes of shape (section 6): the input with small changes.

    Args:
        direction: AB or BA.
        reached: mean position of translations on the way from real images of their inputs' domain, 0, to those of the
            target, 1.
        correlation: mean, between the colours of input and translation.
        names: of the domains.
    """
    if reached >= REACHED_SHARE or correlation < KEPT_CORRELATION:
        return []
    text = (
        f"translations {direction_label(direction, names)} keep their inputs' structure (correlation {correlation:.2f}"
        f") and get {100 * max(0.0, reached):.0f} % of the way to real images: if shapes must change, this is a known "
        "limit of the method; if only colours or textures must, train longer, or lower the weight of the identity loss "
        "if there is one"
    )
    return [Detection("minimal-change", direction, text)]


def exchanged_classes(
    direction: str, groups: Sequence[Sequence[str]], accuracy: float, exchanged_back: float, names: Names = NO_NAMES
) -> list[Detection]:
    """Classes of label maps that take each other's places.

    Args:
        direction: AB or BA.
        groups: names of classes, each found as the next one and the last as the first.
        accuracy: pixel accuracy.
        exchanged_back: pixel accuracy if they were exchanged back.
        names: of the domains.
    """
    if not groups:
        return []
    pairs = [f"{a} as {b}" for group in groups for a, b in zip(group, [*group[1:], group[0]], strict=True)]
    text = (
        f"translation {direction_label(direction, names)} exchanges classes: {', '.join(pairs)}; exchanged back, pixel "
        f"accuracy would be {exchanged_back:.2f} instead of {accuracy:.2f}; classes that are alike in size, shape and "
        "place are told apart by pairs only (preset few_pairs)"
    )
    return [Detection("exchanged-classes", direction, text)]


def discriminator_won(
    records: Iterable[Mapping[str, Any]], least_squares: Mapping[str, str], names: Names = NO_NAMES
) -> list[Detection]:
    """From a journal's `metrics` records, the `least_squares` of the method's configuration, and the domains' names."""
    last = [record["values"] for record in records if record["kind"] == "metrics"][-LAST_RECORDS:]
    found = []
    for name, direction in least_squares.items():
        losses = [values[f"loss/{name}"] for values in last if f"loss/{name}" in values]
        if losses and (loss := statistics.fmean(losses)) < WON_LOSS:
            text = (
                f"discriminator {name} separates all translations {direction_label(direction, names)} from real images "
                f"(loss {loss:.3f}), so that little can be learned from it: lower optim.lr_D, or look for what gives a "
                "domain away in the data"
            )
            found.append(Detection("discriminator-won", direction, text))
    return found
