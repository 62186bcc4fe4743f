"""What a step needs of each player: its wrapped module, optimizer, gradient exchange and random numbers."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cyclegan_dist.methods.contract import Player
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.exchange import GradientExchange


class RandomNumbers:
    """The state of torch's random generators on the CPU and on a GPU, saved and restored.

    Attributes:
        drawn: whether random numbers were drawn in between; None before the first `restore`.
    """

    def __init__(self, device: torch.device):
        self._device, self._states = device, list[Tensor]()
        self.drawn: bool | None = None

    def save(self) -> None:
        self._states = self._read()

    def restore(self) -> None:
        now = self._read()
        self.drawn = any(not torch.equal(one, other) for one, other in zip(self._states, now, strict=True))
        torch.set_rng_state(self._states[0])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(self._states[1], self._device)

    def _read(self) -> list[Tensor]:
        on_gpu = [torch.cuda.get_rng_state(self._device)] if self._device.type == "cuda" else []
        return [torch.get_rng_state(), *on_gpu]


@dataclass(frozen=True)
class Part:
    """A player with its wrapped module and its optimizer. `exchange` is None on a single rank, and where
    DistributedDataParallel exchanges; `choices` are the names of the random choices that the player's `recall` needs.
    """

    player: Player
    module: nn.Module
    optimizer: torch.optim.Adam
    exchange: GradientExchange | None
    random: RandomNumbers
    choices: tuple[str, ...]

    @property
    def trains(self) -> bool:
        """Whether any of its weights is not frozen."""
        return any(parameter.requires_grad for parameter in self.player.module.parameters())

    def gradients(self) -> list[Tensor]:
        parameters = (p for group in self.optimizer.param_groups for p in group["params"])
        return [p.grad for p in parameters if p.grad is not None]

    def accumulating(self, last: bool) -> AbstractContextManager[None]:
        """Context in which DistributedDataParallel averages gradients in the last micro-batch's backward only."""
        if last or not isinstance(self.module, DistributedDataParallel):
            return nullcontext()
        return self.module.no_sync()

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, with the learning rate as a number."""
        state = self.optimizer.state_dict()
        groups = [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the optimizer's state, but not how it computes, which `optim.fast` decides."""
        own = self.optimizer.param_groups
        kept = [{name: group[name] for name in ("lr", "fused", "foreach", "capturable")} for group in own]
        groups = [{**group, **mine} for group, mine in zip(state["param_groups"], kept, strict=True)]
        self.optimizer.load_state_dict({**state, "param_groups": groups})
        # In the weights' layout, which fused Adam requires: the run that saved them may have had another.
        for parameter, values in self.optimizer.state.items():
            for name, value in values.items():
                if value.shape == parameter.shape and value.stride() != parameter.stride():
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def set_learning_rate(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # of a CUDA graph, in which a number would be constant
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr


def player_part(player: Player, config: OptimConfig, world: World, *, fast: bool) -> Part:
    """Wrap a player for the ranks of `world`. `fast`: for an update that `optim.fast` records."""
    module, on_gpu = player.module, world.device.type == "cuda"
    # Named parameters put the names into the optimizer's state, so that a checkpoint shows which moment belongs to
    # which weight.
    parameters, betas = module.named_parameters(), config.betas(player.role)
    options: dict[str, Any] = {"fused": True, "capturable": on_gpu} if fast else {}
    optimizer = torch.optim.Adam(parameters, lr=config.lr, betas=betas, **options)
    if fast:
        optimizer.param_groups[0]["lr"] = torch.full((), config.lr, device=world.device)
    exchange, exchanges = None, world.size > 1 and any(p.requires_grad for p in module.parameters())
    if fast and exchanges:
        exchange = GradientExchange(module.parameters(), world)
    elif exchanges:
        ids = [world.device.index] if on_gpu else None
        group = world.group
        restore_strides(module)
        module = DistributedDataParallel(module, device_ids=ids, process_group=group, gradient_as_bucket_view=True)
    return Part(player, module, optimizer, exchange, RandomNumbers(world.device), tuple(player.draw(0)))


def restore_strides(module: nn.Module) -> None:
    """Let gradients have the strides that DistributedDataParallel compares, also in dimensions of one element, which
    differ where gradients have been differentiated.
    """
    for parameter in module.parameters():
        if parameter.requires_grad and 1 in parameter.shape:
            parameter.register_hook(_with_default_strides)  # pyright: ignore[reportUnknownMemberType]


def _with_default_strides(gradient: Tensor) -> Tensor:
    return gradient.flatten().view(gradient.shape)


@contextmanager
def frozen(networks: Sequence[nn.Module]) -> Generator[None]:
    """Disable gradients with respect to the weights of `networks`; gradients still flow through them."""
    trained = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
