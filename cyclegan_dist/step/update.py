"""One update of every player: forward, backward, gradient exchange, Adam (paper section 7.1).

The step knows no method: it plays the method's players in order. All of them are differentiated before any of them
moves, which changes nothing for CycleGAN (the discriminators see fakes made before the generators' update) and lets a
non-finite gradient stop the run with every weight still good.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cyclegan_dist.methods.contract import Images, Player
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World


class NonFiniteError(RuntimeError):
    """A gradient became infinite or not a number. No weight has been changed by this step, on any rank.

    Attributes:
        losses: this rank's, by name.
    """

    def __init__(self, text: str, losses: Mapping[str, float] | None = None):
        super().__init__(text)
        self.losses = losses or {}


@dataclass(frozen=True)
class _Part:
    """A player with what the step adds to it."""

    player: Player
    module: nn.Module
    optimizer: torch.optim.Adam

    def parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def exchange(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are averaged over ranks in the last micro-batch's backward only."""
        if last or not isinstance(self.module, DistributedDataParallel):
            return nullcontext()
        return self.module.no_sync()


class Step:
    """Updates the method's networks, in place, on this rank's share of a batch.

    All ranks must call it equally often. The networks are moved to the world's device and precision, and rank 0's
    weights are given to all.
    """

    def __init__(self, method: CycleGAN, config: OptimConfig, world: World):
        self.method, self.config, self.world = method, config, world
        self.dtype = torch.float64 if config.precision == "fp64" else torch.float32
        self.memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        # nn.Module.to has no overload that takes all three by keyword in the type stubs.
        method.networks.to(device=world.device, dtype=self.dtype)
        method.networks.to(memory_format=self.memory_format)  # pyright: ignore[reportCallIssue]
        self._parts = [self._part(player) for player in method.players]
        self._ema = None
        if config.ema_decay:  # after wrapping, which made all ranks' weights equal
            self._ema = AveragedModel(method.generators, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        self._rehearsed = False

    @property
    def generators(self) -> nn.ModuleDict:
        """G_AB and G_BA as users should get them: averaged over time where ema_decay asks for it."""
        if self._ema is None:
            return self.method.generators
        assert isinstance(self._ema.module, nn.ModuleDict)
        return self._ema.module

    def __call__(self, micro_batches: Sequence[Mapping[str, Tensor]], lr: float) -> dict[str, Tensor]:
        """Play every player once.

        Args:
            micro_batches: `real_A` and `real_B` of each, n x C x H x W in [-1, 1], on the world's device.
            lr: learning rate of this step.

        Returns:
            This rank's unweighted terms and, under the player's name, their weighted sum: detached scalars on the
            device, averaged over the micro-batches.

        Raises:
            NonFiniteError: on all ranks alike, before any weight has changed.
        """
        batches: list[Images] = [dict(images) for images in micro_batches]
        if not self._rehearsed:
            self._rehearse(batches)
        values: dict[str, Tensor] = {}
        for part in self._parts:
            batches = [part.player.prepare(images) for images in batches]
            values |= self._play(part, batches)
        self._refuse_non_finite(values)
        for part in self._parts:
            for group in part.optimizer.param_groups:
                group["lr"] = lr
            part.optimizer.step()
        if self._ema is not None:
            self._ema.update_parameters(self.method.generators)
        return values

    def _play(self, part: _Part, batches: list[Images]) -> dict[str, Tensor]:
        """Leave the gradient of one player in its parameters, and what it generated in `batches`."""
        part.optimizer.zero_grad(set_to_none=True)
        total: dict[str, Tensor] = {}
        with frozen(part.player.opponents):
            for i, images in enumerate(batches):
                with part.exchange(last=i == len(batches) - 1):
                    with self._arithmetic():
                        loss, values, made = part.module(**{name: images[name] for name in part.player.reads})
                    (loss / len(batches)).backward()
                images |= made
                for name, value in {**values, part.player.name: loss.detach()}.items():
                    total[name] = total.get(name, 0) + value / len(batches)
        return total

    def _rehearse(self, batches: list[Images]) -> None:
        """Play once for nothing. DistributedDataParallel orders its gradient buckets by its first backward and adds up
        in that order from the second on; with this, a resumed run adds up in the same order as an uninterrupted one
        from its first step.
        """
        if self.world.size > 1:
            gpus = [self.world.device] if self.world.device.type == "cuda" else []
            batches = [dict(images) for images in batches]
            with torch.random.fork_rng(gpus):
                for part in self._parts:
                    self._play(part, batches)
        self._rehearsed = True

    def _refuse_non_finite(self, values: Mapping[str, Tensor]) -> None:
        # Gradients are averaged over ranks by now, so one rank's bad value is in every rank's norm and all raise
        # together. Both players' norms are looked at together, since each look makes a GPU's queue run dry.
        norms = {
            part.player.name: torch.nn.utils.get_total_norm([p.grad for p in part.parameters() if p.grad is not None])
            for part in self._parts
        }
        if not torch.stack(list(norms.values())).isfinite().all():
            lost = next(name for name, norm in norms.items() if not norm.isfinite())
            raise NonFiniteError(
                f"the gradient of player {lost} is not finite",
                {name: float(value) for name, value in values.items()},
            )

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self.config.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16)

    def _part(self, player: Player) -> _Part:
        module = player.module
        if self.config.compile:
            module.compile()
        # Named parameters put the names into the optimizer's state, so that a checkpoint says which moment belongs to
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
        """Everything that is the same on all ranks: networks, moments, averaged generators."""
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
def frozen(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Let gradients pass through `networks` without being computed for their weights."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)
