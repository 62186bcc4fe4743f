"""The contract between a method and everything around it.

A method is a file of players, a file with its configuration (free of torch, so that `--help` answers quickly), and one
line in `methods/available.py`. Step, trainer, data, snapshots, evaluation and service know methods by this contract
alone.

An ablation is a weight of zero, not a branch: `Term.value` is not called then, and what only it would have needed is
never computed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor, nn

from cyclegan_dist.networks.config import GeneratorConfig

Images = dict[str, Tensor]
"""The images of one micro-batch by name (`real_A`, `fake_B`, ...): N x C x H x W in [-1, 1], generated ones
detached."""


@dataclass(frozen=True)
class Term:
    """One summand of a player's loss. `value` computes the unweighted scalar from a player's images."""

    name: str
    weight: float
    value: Callable[[Any], Tensor]


class PlayerOutput(NamedTuple):
    """What a player's forward returns: the scalar to minimise, its terms unweighted and detached, and images for the
    next players.
    """

    loss: Tensor
    values: dict[str, Tensor]
    images: Images


def weighted_sum(terms: Iterable[Term], images: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the terms that weigh anything, and their unweighted values."""
    values = {term.name: (term.weight, term.value(images)) for term in terms if term.weight}
    loss = sum(weight * value for weight, value in values.values())
    assert isinstance(loss, Tensor), "a player needs a term of weight above 0"
    return loss, {name: value.detach() for name, (_, value) in values.items()}


def unchanged(images: Images) -> Images:
    """The `recall` of a player without a history."""
    return images


@dataclass(frozen=True)
class Player:
    """One side of the game.

    Attributes:
        name: names its optimizer, its loss and its learning rate in logs and checkpoints.
        role: `generator` learns at `optim.lr`, `discriminator` at `optim.lr_D`.
        module: owns the networks this player trains. Its one `forward(**inputs)` returns a `PlayerOutput`: one forward
            belongs to one backward, which is what DistributedDataParallel and torch.compile want.
        inputs: what `module` takes, from the images made so far. Pure: it may be called once more for nothing, and the
            random numbers it draws are drawn again by the players after it.
        recall: exchanges generated images of `inputs` for those of a history; called once a micro-batch.
        opponents: networks that judge this player; frozen while it plays.
    """

    name: str
    role: Literal["generator", "discriminator"]
    module: nn.Module
    inputs: Callable[[Mapping[str, Tensor]], Images]
    recall: Callable[[Images], Images] = unchanged
    opponents: tuple[nn.Module, ...] = ()


def pick(*names: str) -> Callable[[Mapping[str, Tensor]], Images]:
    """The `inputs` of a player that takes images as they are."""
    return lambda images: {name: images[name] for name in names}


class Method(Protocol):
    """Networks and the players that train them, built from a `MethodConfig`.

    Attributes:
        pairing: `none`: domains are drawn independently. `all`: each image of A comes with its partner in B, and both
            are cropped alike.
        updates: `together`: all players are differentiated before any of them moves. `in_turn`: each moves before the
            next one plays.
        networks: all of them by name; what a checkpoint holds.
        players: in the order in which they play.
        translators: the network that translates in each direction, `AB` and `BA` or one of them: what EMA, samples,
            snapshots, evaluation, export and service see.
    """

    pairing: ClassVar[Literal["none", "all"]]
    updates: ClassVar[Literal["together", "in_turn"]]
    networks: nn.ModuleDict
    players: tuple[Player, ...]

    @property
    def translators(self) -> Mapping[str, nn.Module]: ...

    def rank_state(self) -> dict[str, Any]:
        """What differs between ranks and must survive a resume: history buffers, or nothing."""
        ...

    def load_rank_state(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        """Take this rank's state.

        Args:
            states: of each rank of the run that saved them. If it had `world_size` ranks, only `states[rank]` is
                read; else this rank takes its share of all.
            rank: this rank.
            world_size: ranks now.
        """
        ...


class MethodConfig(Protocol):
    """The configuration of a method: a frozen dataclass in a file that does not import torch.

    Attributes:
        name: of the method, as presets write it.
        channels: of the images of domain `A` and `B`.
        generator: architecture of the translators.
        multiple: what image sides must be a multiple of.
        smallest_side: smallest image side, in pixels, that the networks can work on.
        directions: of the translators that the method trains.
        pairing: as `Method.pairing`.
        panels: titles of curves, and the losses that each shows.
        losses: names of everything the players report; for `best_loss`, sweeps and curves.
        least_squares: losses of least-squares discriminators, by the direction whose translations they judge; they
            alone have a scale that says who wins.
        stored_images: of each domain, how many each rank keeps between steps at most; checkpoints hold them.
        double_backward: whether gradients are differentiated, which torch.compile cannot.
    """

    @property
    def name(self) -> str: ...
    @property
    def channels(self) -> Mapping[str, int]: ...
    @property
    def generator(self) -> GeneratorConfig: ...
    @property
    def multiple(self) -> int: ...
    @property
    def smallest_side(self) -> int: ...
    @property
    def directions(self) -> tuple[str, ...]: ...
    @property
    def pairing(self) -> Literal["none", "all"]: ...
    @property
    def panels(self) -> Mapping[str, tuple[str, ...]]: ...
    @property
    def losses(self) -> tuple[str, ...]: ...
    @property
    def least_squares(self) -> Mapping[str, str]: ...
    @property
    def stored_images(self) -> Mapping[str, int]: ...
    @property
    def double_backward(self) -> bool: ...

    def build(self, *, rank_seed: int) -> Method:
        """Draw the networks from the global torch generator, which must be seeded alike on all ranks; `rank_seed`
        differs between ranks.
        """
        ...
