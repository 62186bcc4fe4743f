"""Interface between a method and the rest of the library.

A method consists of a file with its players, a file with its options (which does not import torch, so that `--help`
answers quickly), and one line in `methods/available.py`. Step, trainer, data, snapshots, evaluation and service depend
only on this interface.

An ablation is a weight of zero, not a branch: `Term.value` is then not called, and images that only it needs are not
computed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor, nn

from cyclegan_dist.networks.config import AnyGeneratorConfig

Images = dict[str, Tensor]
"""The images of one micro-batch by name (`real_A`, `fake_B`, ...): N x C x H x W in [-1, 1], generated ones
detached."""


@dataclass(frozen=True)
class Term:
    """One summand of a player's loss. `value` computes the unweighted scalar from a player's images, and `factor` one
    that the weight is multiplied with: a tensor, because a number would be constant in a CUDA graph.
    """

    name: str
    weight: float
    value: Callable[[Any], Tensor]
    factor: Callable[[Any], Tensor] | None = None


class PlayerOutput(NamedTuple):
    """What a player's forward returns: the scalar to minimise, its terms unweighted and detached, and images for the
    next players.
    """

    loss: Tensor
    values: dict[str, Tensor]
    images: Images


def weighted_sum(terms: Iterable[Term], images: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the terms with a weight above 0, and their unweighted values."""
    values, loss = dict[str, Tensor](), None
    for term in terms:
        if term.weight:
            value = term.value(images)
            weighted = term.weight * value
            if term.factor is not None:
                weighted = weighted * term.factor(images).to(value.dtype)
            loss = weighted if loss is None else loss + weighted
            values[term.name] = value.detach()
    assert loss is not None, "a player needs a term of weight above 0"
    return loss, values


def unchanged(images: Images) -> Images:
    """The `recall` of a player without a history."""
    return images


def no_choices(count: int) -> Images:
    """The `draw` of a player whose `recall` makes no random choice."""
    return {}


def nothing_chosen(images: Images, seed: int, first: int) -> Images:
    """The `choose` of a player whose loss has no random choices."""
    return {}


def constant(nimg: int) -> Images:
    """The `weigh` of a player whose weights do not change."""
    return {}


@dataclass(frozen=True)
class Player:
    """A set of networks that minimise one loss.

    Attributes:
        name: name of its optimizer, loss and learning rate in logs and checkpoints.
        role: `generator` learns at `optim.lr`, `discriminator` at `optim.lr_D`.
        module: module with the networks that this player trains. Its single `forward(**inputs)` returns a
            `PlayerOutput`: DistributedDataParallel requires one forward per backward.
        inputs: selects the inputs of `module` from the images so far. It must be free of side effects: it may be called
            once more with its result discarded, and random numbers that it draws are drawn again by later players.
        recall: exchanges generated images in `inputs` for those of a history; called once per micro-batch.
        draw: makes the random choices of `recall` for a number of images in advance, as CPU tensors by name. A step
            that runs as a CUDA graph adds them to the images that `recall` gets; without them `recall` makes the same
            choices itself.
        choose: makes random choices for the losses of a micro-batch, as CPU tensors by name, which `inputs` finds among
            the images: `choose(images, seed, first)`. `seed` is the same on all ranks in an update, and `first` is the
            number of the micro-batch's first image in the whole batch. The result depends on these and on the images'
            shapes and types only, so that a batch gets the same choices however ranks and micro-batches share it.
        weigh: computes factors of the weights of its terms, as CPU scalars by name, which `inputs` finds among the
            images: `weigh(nimg)`. `nimg` is the number of images per domain that the run has seen.
        opponents: networks that evaluate this player's images; frozen during its update.
    """

    name: str
    role: Literal["generator", "discriminator"]
    module: nn.Module
    inputs: Callable[[Mapping[str, Tensor]], Images]
    recall: Callable[[Images], Images] = unchanged
    draw: Callable[[int], Images] = no_choices
    choose: Callable[[Images, int, int], Images] = nothing_chosen
    weigh: Callable[[int], Images] = constant
    opponents: tuple[nn.Module, ...] = ()


def pick(*names: str) -> Callable[[Mapping[str, Tensor]], Images]:
    """The `inputs` of a player that takes images as they are."""
    return lambda images: {name: images[name] for name in names}


class Method(Protocol):
    """Networks and the players that train them, built from a `MethodConfig`.

    Attributes:
        updates: `together`: all gradients are computed before any weight changes. `in_turn`: each player's weights
            change before the next player's gradients are computed.
        networks: all networks by name, as saved in checkpoints.
        players: players in the order of their updates.
        translators: the network for each direction, `AB` and `BA` or one of them, for EMA, samples, snapshots,
            evaluation, export and service.
    """

    updates: ClassVar[Literal["together", "in_turn"]]
    networks: nn.ModuleDict
    players: tuple[Player, ...]

    @property
    def translators(self) -> Mapping[str, nn.Module]: ...

    def rank_state(self) -> dict[str, Any]:
        """State that differs between ranks and must be saved to resume: history buffers, or nothing."""
        ...

    def load_rank_state(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        """Load this rank's state.

        Args:
            states: state of each rank of the run that saved them. If it had `world_size` ranks, only `states[rank]` is
                read; otherwise this rank loads its share of all.
            rank: this rank.
            world_size: current number of ranks.
        """
        ...


class MethodConfig(Protocol):
    """Options of a method: a frozen dataclass in a file that does not import torch.

    Attributes:
        name: name of the method in presets.
        channels: channels of images of domain `A` and `B`.
        generator: architecture of the translators.
        multiple: number that image sides must be a multiple of.
        smallest_side: smallest image side, in pixels, that the networks accept.
        directions: directions of the translators that the method trains.
        pairing: `none`: domains are sampled independently. `all`: each image of A is loaded with its partner in B, and
            both are cropped alike. `some`: independently, and besides as many of the known pairs, cropped alike, as
            `pair_A` and `pair_B`.
        panels: titles of plots, and the losses that each shows.
        losses: names of all values that the players report, for `best_loss`, sweeps and plots.
        least_squares: losses of least-squares discriminators, with the direction whose translations each evaluates;
            only these have a scale that shows whether generator or discriminator is ahead.
        stored_images: maximum number of images of each domain that a rank keeps between steps and in checkpoints.
        trained_with: pretrained networks that take part in the training, `NAME` or `NAME:FILE`, in snapshots' cards and
            refused as evaluators of what they trained.
        taught_by: the snapshot that the method learns from: its `folder`, its digest as `sha256`, its name as `source`,
            and the pretrained networks that it was trained with as `trained_with`; empty for methods without one.
        double_backward: whether gradients are differentiated, as a gradient penalty does.
        batch_norm: whether a network has batch norm: it trains on one rank with one micro-batch per step, without
            `optim.fast`.
    """

    @property
    def name(self) -> str: ...
    @property
    def channels(self) -> Mapping[str, int]: ...
    @property
    def generator(self) -> AnyGeneratorConfig: ...
    @property
    def multiple(self) -> int: ...
    @property
    def smallest_side(self) -> int: ...
    @property
    def directions(self) -> tuple[str, ...]: ...
    @property
    def pairing(self) -> Literal["none", "some", "all"]: ...
    @property
    def panels(self) -> Mapping[str, tuple[str, ...]]: ...
    @property
    def losses(self) -> tuple[str, ...]: ...
    @property
    def least_squares(self) -> Mapping[str, str]: ...
    @property
    def stored_images(self) -> Mapping[str, int]: ...
    @property
    def trained_with(self) -> tuple[str, ...]: ...
    @property
    def taught_by(self) -> Mapping[str, Any]: ...
    @property
    def double_backward(self) -> bool: ...
    @property
    def batch_norm(self) -> bool: ...

    def build(self, *, rank_seed: int) -> Method:
        """Draw the weights from torch's global random generator, which must be seeded alike on all ranks; `rank_seed`
        differs between ranks.
        """
        ...
