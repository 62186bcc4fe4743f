"""What goes wrong with a CycleGAN, in words. A finding is a doubt for a person to look at, and may veto a promotion."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

NOTHING_LEVELS = 3.0  # grey levels: less is not seen
COLLAPSED_SHARE = 0.2  # of the real images' spread
INVERTED_CORRELATION = -0.3
WON_LOSS = 0.02  # of a least-squares discriminator, which is 0.25 where it cannot tell
LAST_RECORDS = 20


@dataclass(frozen=True)
class Detection:
    """Something that looks wrong.

    Attributes:
        name: do-nothing, collapsed, inverted or discriminator-won.
        direction: AB or BA.
        text: a sentence with the figure, and what helps.
    """

    name: str
    direction: str
    text: str


DETECTORS = ("do-nothing", "collapsed", "inverted", "discriminator-won")


def do_nothing(direction: str, change: float) -> list[Detection]:
    """`change`: mean absolute difference of translations to their inputs, in grey levels."""
    if change >= NOTHING_LEVELS:
        return []
    text = f"G_{direction} changes its input by {change:.1f} grey levels of 255: lower lambda_identity, or train longer"
    return [Detection("do-nothing", direction, text)]


def collapsed(direction: str, fake: Tensor, real: Tensor) -> list[Detection]:
    """From n x D features of translations and of real images of the domain they should be of."""
    spread, wanted = (float(x.var(0).sum().sqrt()) for x in (fake, real))
    if spread >= COLLAPSED_SHARE * wanted:
        return []
    share = spread / wanted if wanted else 0.0
    text = (
        f"translations of G_{direction} differ {100 * share:.0f} % as much as real images do: all inputs give nearly "
        "one output; raise the cycle weight, or start with another seed"
    )
    return [Detection("collapsed", direction, text)]


def inverted(direction: str, correlation: float) -> list[Detection]:
    """`correlation`: mean, between the grey values of input and translation."""
    if correlation > INVERTED_CORRELATION:
        return []
    text = (
        f"G_{direction} turns dark into bright (correlation {correlation:.2f}): raise lambda_identity, or start with "
        "another seed"
    )
    return [Detection("inverted", direction, text)]


def discriminator_won(records: Iterable[Mapping[str, Any]], gan_mode: str) -> list[Detection]:
    """From a journal's `metrics` records; only least-squares losses have a scale to judge by."""
    last = [record["values"] for record in records if record["kind"] == "metrics"][-LAST_RECORDS:]
    found = []
    for domain, direction in (("B", "AB"), ("A", "BA")) if gan_mode == "lsgan" else ():
        losses = [values[f"loss/D_{domain}"] for values in last if f"loss/D_{domain}" in values]
        if losses and (loss := statistics.fmean(losses)) < WON_LOSS:
            text = (
                f"D_{domain} tells all translations of G_{direction} apart (loss {loss:.3f}), which teaches little: "
                "raise pool_size, lower optim.lr, or look at the data for what gives a domain away"
            )
            found.append(Detection("discriminator-won", direction, text))
    return found
