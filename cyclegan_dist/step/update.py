"""One update of every player: forward, backward, gradient exchange, Adam (paper section 7.1).

The step is independent of the method: it updates the method's players in order. With `together`, as in CycleGAN, all
gradients are computed before any weight changes; with `in_turn`, each player's weights change before the next player's
gradients are computed.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cyclegan_dist.methods.contract import Images, Method, Player
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World


class NonFiniteError(RuntimeError):
    """A gradient is infinite or not a number, on all ranks. The weights of its player have not changed; if players
    update in turn, those of the players before it have.

    Attributes:
        losses: this rank's losses, by name.
    """

    def __init__(self, text: str, losses: Mapping[str, float] | None = None):
        super().__init__(text)
        self.losses = losses or {}


@dataclass(frozen=True)
class _Part:
    """A player with its wrapped module and its optimizer."""

    player: Player
    module: nn.Module
    optimizer: torch.optim.Adam

    def parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def exchange(self, last: bool) -> AbstractContextManager[None]:
        """Context in which gradients are averaged over ranks in the last micro-batch's backward only."""
        if last or not isinstance(self.module, DistributedDataParallel):
            return nullcontext()
        return self.module.no_sync()

    def move(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()  # pyright: ignore[reportUnknownMemberType]


class Step:
    """Updates the method's networks in place, with this rank's share of a batch.

    All ranks must call it the same number of times. The networks are moved to the world's device and precision, and
    all ranks receive the weights of rank 0.
    """

    def __init__(self, method: Method, config: OptimConfig, world: World):
        self.method, self.config, self.world = method, config, world
        self.dtype = torch.float64 if config.precision == "fp64" else torch.float32
        self.memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        # nn.Module.to has no overload that takes all three by keyword in the type stubs.
        method.networks.to(device=world.device, dtype=self.dtype)
        method.networks.to(memory_format=self.memory_format)  # pyright: ignore[reportCallIssue]
        self._parts = [self._part(player) for player in method.players]
        # All gradients of a group are computed before any of its weights changes.
        self._groups = [self._parts] if method.updates == "together" else [[part] for part in self._parts]
        self._ema = None
        if config.ema_decay:  # after wrapping, which makes the weights of all ranks equal
            average: Callable[..., None] = get_ema_multi_avg_fn(config.ema_decay)  # pyright: ignore
            self._ema = AveragedModel(self._trained(), multi_avg_fn=average)
        self._rehearsed = False

    @property
    def translators(self) -> dict[str, nn.Module]:
        """The network of each direction for use after training: the moving average if ema_decay is set."""
        if self._ema is None:
            return dict(self.method.translators)
        assert isinstance(self._ema.module, nn.ModuleDict)
        return {direction: self._ema.module[f"G_{direction}"] for direction in self.method.translators}

    def _trained(self) -> nn.ModuleDict:
        return nn.ModuleDict({f"G_{direction}": network for direction, network in self.method.translators.items()})

    def learning_rates(self, lr: float) -> dict[str, float]:
        """The learning rate of each player, if that of generators is `lr`."""
        return {
            part.player.name: lr * (self.config.lr_ratio if part.player.role == "discriminator" else 1.0)
            for part in self._parts
        }

    def __call__(self, micro_batches: Sequence[Mapping[str, Tensor]], lr: float) -> dict[str, Tensor]:
        """Update every player once.

        Args:
            micro_batches: `real_A` and `real_B` of each micro-batch, n x C x H x W in [-1, 1], on the world's device.
            lr: learning rate of generators in this step; that of discriminators is proportional, see `optim.lr_D`.

        Returns:
            This rank's unweighted terms and, under the player's name, their weighted sum: detached scalars on the
            device, averaged over the micro-batches.

        Raises:
            NonFiniteError: on all ranks, before the weights of the player with that gradient change.
        """
        batches: list[Images] = [dict(images) for images in micro_batches]
        if not self._rehearsed:
            self._rehearse(batches)
        values: dict[str, Tensor] = {}
        rates = self.learning_rates(lr)
        for group in self._groups:
            # Forward and backward: gradients are averaged over ranks.
            for part in group:
                inputs = [part.player.recall(images) for images in self._inputs(part.player, batches)]
                values |= self._differentiate(part, inputs, batches)
            # Finite check, before any weight changes.
            self._refuse_non_finite(group, values)
            # Adam.
            for part in group:
                part.move(rates[part.player.name])
        # Moving average of the translators.
        if self._ema is not None:
            self._ema.update_parameters(self._trained())
        return values

    def _inputs(self, player: Player, batches: list[Images]) -> list[Images]:
        """The player's inputs. Random numbers that this draws, for example for the dropout of a generator that is
        updated later, are drawn again by the players themselves.
        """
        with self._unchanged_rng(), self._arithmetic():
            return [player.inputs(images) for images in batches]

    def _differentiate(self, part: _Part, inputs: list[Images], batches: list[Images]) -> dict[str, Tensor]:
        """Compute a player's gradients, and add the images that it generates to `batches`."""
        part.optimizer.zero_grad(set_to_none=True)
        total: dict[str, Tensor] = {}
        with frozen(part.player.opponents):
            for i, images in enumerate(inputs):
                with part.exchange(last=i == len(inputs) - 1):
                    with self._arithmetic():
                        loss, values, made = part.module(**images)
                    (loss / len(inputs)).backward()
                batches[i] |= made
                for name, value in {**values, part.player.name: loss.detach()}.items():
                    total[name] = total.get(name, 0) + value / len(inputs)
        return total

    def _rehearse(self, batches: list[Images]) -> None:
        """Run forward and backward once and discard the result. DistributedDataParallel orders its gradient buckets by
        the first backward and uses that order from the second one on; after this, a resumed run sums gradients in the
        same order as an uninterrupted one.
        """
        if self.world.size > 1:
            batches = [dict(images) for images in batches]
            with self._unchanged_rng():
                for part in self._parts:
                    self._differentiate(part, self._inputs(part.player, batches), batches)
        self._rehearsed = True

    def _unchanged_rng(self) -> AbstractContextManager[None]:
        devices = [self.world.device] if self.world.device.type == "cuda" else []
        return torch.random.fork_rng(devices)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def _refuse_non_finite(self, group: list[_Part], values: Mapping[str, Tensor]) -> None:
        # Gradients are already averaged over ranks, so a bad value of one rank is in every rank's norm and all ranks
        # raise. The whole group is read at once, because each read synchronises with the GPU.
        norms = {
            part.player.name: torch.nn.utils.get_total_norm([p.grad for p in part.parameters() if p.grad is not None])
            for part in group
        }
        if not torch.stack(list(norms.values())).isfinite().all():
            lost = next(name for name, norm in norms.items() if not norm.isfinite())
            moved = [part.player.name for part in self._parts[: self._parts.index(group[0])]]
            kept = f"player {', '.join(moved)} has moved before it" if moved else "no weight was changed"
            raise NonFiniteError(
                f"the gradient of player {lost} is not finite, {kept}",
                {name: float(value) for name, value in values.items()},
            )

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self.config.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16)

    def _part(self, player: Player) -> _Part:
        module = player.module
        if self.config.compile:
            module.compile()  # pyright: ignore[reportUnknownMemberType]
        # Named parameters put the names into the optimizer's state, so that a checkpoint shows which moment belongs to
        # which weight.
        betas = (self.config.beta1, self.config.beta2)
        optimizer = torch.optim.Adam(
            module.named_parameters(), lr=self.config.lr, betas=betas, fused=self.config.fused or None
        )
        if self.world.size > 1:
            ids = [self.world.device.index] if self.world.device.type == "cuda" else None
            group = self.world.group
            module = DistributedDataParallel(module, device_ids=ids, process_group=group, gradient_as_bucket_view=True)
        return _Part(player, module, optimizer)

    def state_dict(self) -> dict[str, Any]:
        """State that is the same on all ranks: networks, moments, averaged generators."""
        state = {
            "networks": self.method.networks.state_dict(),
            "optimizers": {part.player.name: part.optimizer.state_dict() for part in self._parts},
        }
        return state if self._ema is None else {**state, "ema": self._ema.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.method.networks.load_state_dict(state["networks"])
        for part in self._parts:
            part.optimizer.load_state_dict(state["optimizers"][part.player.name])
        if self._ema is not None:
            self._ema.load_state_dict(state["ema"])


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
