"""The two words every method is written in: a `Term` of a loss, and a `Player` who minimises some of them.

An ablation is a weight of zero, not a branch: `Term.value` is not called then, and what only it would have needed is
never computed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

Images = dict[str, Tensor]
"""The images of one micro-batch by name (`real_A`, `fake_B`, ...): N x C x H x W in [-1, 1], generated ones
detached."""


@dataclass(frozen=True)
class Term:
    """One summand of a player's loss. `value` computes the unweighted scalar."""

    name: str
    weight: float
    value: Callable[[Any], Tensor]


class Outcome(NamedTuple):
    """What a player's forward returns: the scalar to minimise, its terms unweighted and detached, and images for the
    next players.
    """

    loss: Tensor
    values: dict[str, Tensor]
    images: Images


def add_up(terms: Iterable[Term], images: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the terms that weigh anything, and their unweighted values."""
    values = {term.name: (term.weight, term.value(images)) for term in terms if term.weight}
    loss = sum(weight * value for weight, value in values.values())
    assert isinstance(loss, Tensor), "a player needs a term of weight above 0"
    return loss, {name: value.detach() for name, (_, value) in values.items()}


@dataclass(frozen=True)
class Player:
    """One side of the game.

    Attributes:
        name: `G` or `D`; names its optimizer and learning rate.
        module: owns the networks this player trains. Its one `forward(**images)` returns an `Outcome`: one forward
        belongs to one
            backward, which is what DistributedDataParallel and torch.compile want.
        reads: the names of the images `module` takes.
        opponents: networks that judge this player; frozen while it plays.
        prepare: what happens to the images before this player sees them (the discriminators' history buffers).
    """

    name: str
    module: nn.Module
    reads: tuple[str, ...]
    opponents: tuple[nn.Module, ...] = ()
    prepare: Callable[[Mapping[str, Tensor]], Images] = dict
