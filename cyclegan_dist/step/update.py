"""One update of every player: forward, backward, gradient exchange, Adam (paper section 7.1).

The step is independent of the method: it updates the method's players in order. With `together`, as in CycleGAN, all
gradients are computed before any weight changes; with `in_turn`, each player's weights change before the next player's
gradients are computed.

With `optim.fast` the same update runs as a CUDA graph (`step/graph.py`) on fused layers. Then it asks the device for no
value: the finite check sets a flag (`step/finite.py`), the learning rate is a tensor, the choices of a history are
inputs, and gradients are exchanged as one tensor (`step/exchange.py`) instead of by DistributedDataParallel.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from cyclegan_dist.methods.contract import Images, Method
from cyclegan_dist.networks.fused import use_fused_layers
from cyclegan_dist.networks.resnet import recompute_blocks
from cyclegan_dist.networks.spectral import iterate_power
from cyclegan_dist.step.average import MovingAverage
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.exchange import broadcast_weights
from cyclegan_dist.step.finite import FiniteFlag, refuse_non_finite
from cyclegan_dist.step.graph import GraphedUpdate, HostAction
from cyclegan_dist.step.own_time import OwnTime
from cyclegan_dist.step.part import Part, RandomNumbers, frozen, player_part


class Step:
    """Updates the method's networks in place, with this rank's share of a batch.

    All ranks must call it the same number of times. The networks are moved to the world's device and precision, and
    all ranks receive the weights of rank 0.

    Attributes:
        fast: whether `optim.fast` is on.
        own_time: what this rank computes of an update's time.
    """

    def __init__(self, method: Method, config: OptimConfig, world: World):
        self.method, self.config, self.world = method, config, world
        self.fast = config.is_fast(world.device.type)
        on_gpu = self.fast and world.device.type == "cuda"
        self.dtype = torch.float64 if config.precision == "fp64" else torch.float32
        self.memory_format = torch.channels_last if on_gpu else torch.contiguous_format
        method.networks.to(device=world.device, dtype=self.dtype)
        if config.activation_checkpointing:
            recompute_blocks(method.networks)
        if on_gpu:
            use_fused_layers(method.networks)
            # Benchmarks may choose other kernels, with other bits, in each process.
            torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
        self._parts = [player_part(player, config, world, fast=self.fast) for player in method.players]
        # DistributedDataParallel does it for what it wraps.
        if world.size > 1 and (self.fast or not all(part.trains for part in self._parts)):
            broadcast_weights(method.networks.parameters(), world)
        # All gradients of a group are computed before any of its weights changes.
        self._groups = [self._parts] if method.updates == "together" else [[part] for part in self._parts]
        # After wrapping, which makes the weights of all ranks equal.
        self._average: MovingAverage | None = None
        if config.ema_half_life_images:
            half_life, ramp = config.ema_half_life_images, config.ema_ramp
            self._average = MovingAverage(method.translators, half_life=half_life, ramp=ramp, batch=config.batch_size)
        self.own_time = OwnTime(world)
        self._rehearsed = False
        self._flag: FiniteFlag | None = None
        if self.fast:
            self._flag = FiniteFlag([[part.player.name for part in group] for group in self._groups], world.device)
            for part in self._parts:
                part.optimizer.found_inf = self._flag.found  # pyright: ignore[reportAttributeAccessIssue]
        self._graph = GraphedUpdate(self._update, world.device) if self.fast else None

    @property
    def translators(self) -> dict[str, nn.Module]:
        """The network of each direction for use after training: the moving average if there is one."""
        return dict(self.method.translators) if self._average is None else self._average.translators

    def learning_rates(self, lr: float) -> dict[str, float]:
        """The learning rate of each player, if that of generators is `lr`."""
        return {
            part.player.name: lr * (self.config.lr_ratio if part.player.role == "discriminator" else 1.0)
            for part in self._parts
        }

    def __call__(
        self, micro_batches: Sequence[Mapping[str, Tensor]], lr: float, seed: int = 0, nimg: int = 0
    ) -> dict[str, Tensor]:
        """Update every player once.

        Args:
            micro_batches: `real_A` and `real_B` of each micro-batch, n x C x H x W in [-1, 1], on the world's device.
            lr: learning rate of generators in this step; that of discriminators is proportional, see `optim.lr_D`.
            seed: of the choices of `Player.choose`: another one in each step, and the same on all ranks.
            nimg: images per domain that the run has seen, for `Player.weigh`.

        Returns:
            This rank's unweighted terms and, under the player's name, their weighted sum: detached scalars on the
            device, averaged over the micro-batches.

        Raises:
            NonFiniteError: on all ranks, before the weights of the player with that gradient change. With `fast`,
                `check` raises it instead.
        """
        batches = self._with_choices(micro_batches, seed, nimg)
        for part in self._parts:
            part.set_learning_rate(self.learning_rates(lr)[part.player.name])
        if self._average is not None:
            self._average.begin()
        if self._graph is not None and not self._graph.fits(batches):
            self._graph = None  # images of several sizes: from here on without static buffers
            torch.backends.cudnn.benchmark = False  # which would measure all algorithms for each size
        values: dict[str, Tensor] = {}
        if self._graph is not None:
            values = self._graph([{**images, **self._choices(images)} for images in batches])
        else:
            if not self._rehearsed:
                self._rehearse(batches)
            for action in self._update(batches, values):
                action()
        if self._flag is not None:  # a count of the host, which a graph cannot contain
            self._flag.count()
        return values

    def check(self) -> None:
        """With `fast`, wait for the device and raise if a gradient since the last call was not finite; no weight has
        changed since. Without `fast`, updates raise by themselves.

        Raises:
            NonFiniteError: on all ranks.
        """
        if self._flag is not None:
            self._flag.check()

    def close(self) -> None:
        """Free the recorded graphs. With NCCL, leaving the group of ranks waits until no graph contains its work."""
        self._graph = None

    def _with_choices(self, micro_batches: Sequence[Mapping[str, Tensor]], seed: int, nimg: int) -> list[Images]:
        """The micro-batches with the random choices and the weights that are the same on all ranks."""
        batches: list[Images] = [dict(images) for images in micro_batches]
        first = self.world.rank * sum(len(images["real_A"]) for images in batches)
        for images in batches:
            chosen = [part.player.choose(images, seed, first) | part.player.weigh(nimg) for part in self._parts]
            first += len(images["real_A"])
            for one in chosen:
                images |= {name: x.to(self.world.device, non_blocking=True) for name, x in one.items()}
        return batches

    def _choices(self, images: Images) -> Images:
        """The random choices that players need for `recall` of these images."""
        count = len(next(iter(images.values())))
        return {name: choice for part in self._parts for name, choice in part.player.draw(count).items()}

    def _update(self, batches: list[Images], values: dict[str, Tensor]) -> Generator[HostAction]:
        """The update, which fills `values` with losses. Yields what only the host can do; the caller must do it before
        it continues.
        """
        self.own_time.begin()
        if self._flag is not None:
            self._flag.begin()
        for group in self._groups:
            # Forward and backward: gradients are averaged over ranks.
            exchanging = [part for part in group if part.exchange is not None]
            for part in group:
                inputs = yield from self._inputs(part, batches)
                if part.trains:
                    iterate_power(part.player.module)
                values |= self._differentiate(part, [part.player.recall(images) for images in inputs], batches)
                yield from self._average_gradients(part, exchanging)
            # Finite check, before any weight changes.
            gradients = {part.player.name: part.gradients() for part in group if part.trains}
            if not gradients:
                continue
            if self._flag is not None:
                self._flag.add(gradients)
            else:
                moved = [part.player.name for part in self._parts[: self._parts.index(group[0])]]
                refuse_non_finite(gradients, moved, values)
            # Adam. Once the flag is set, it changes nothing.
            for part in group:
                if part.trains:
                    part.optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        # Moving average of the translators.
        if self._average is not None:
            self._average.update(None if self._flag is None else self._flag.found)
        if self._flag is not None:
            self._flag.end(values)
        self.own_time.end()

    def _inputs(self, part: Part, batches: list[Images]) -> Generator[HostAction, None, list[Images]]:
        """The player's inputs, with the choices for `recall`. Random numbers that this draws, for example for the
        dropout of a generator that is updated later, are drawn again by the players themselves.
        """
        # Saving is work of the host, which would split a graph: once it is known that nothing is drawn, it is left out.
        saves = not self.fast or part.random.drawn is not False
        if saves:
            yield part.random.save
        with self._arithmetic():
            inputs = [part.player.inputs(images) for images in batches]
        if saves:
            yield part.random.restore
        choices = [{name: images[name] for name in part.choices if name in images} for images in batches]
        return [{**one, **choice} for one, choice in zip(inputs, choices, strict=True)]

    def _average_gradients(self, part: Part, group: list[Part]) -> Generator[HostAction]:
        """Start to average a player's gradients over ranks, while the next player's are computed; after the last player
        of `group`, wait for all.
        """
        exchange = part.exchange
        if exchange is None:
            return
        started = [one.exchange for one in group if one.exchange is not None] if part is group[-1] else []

        def communicate() -> None:
            exchange.start()
            for one in started:
                one.wait()

        exchange.pack()
        if started:
            self.own_time.pause()
        if exchange.on_device:
            communicate()
        else:
            yield communicate
        if started:
            self.own_time.resume()
        for one in started:
            one.unpack()

    def _differentiate(self, part: Part, inputs: list[Images], batches: list[Images]) -> dict[str, Tensor]:
        """Compute a player's gradients, and add the images that it generates to `batches`."""
        part.optimizer.zero_grad(set_to_none=True)
        total: dict[str, Tensor] = {}
        with frozen(part.player.opponents):
            for i, images in enumerate(inputs):
                with part.accumulating(last=i == len(inputs) - 1):
                    with self._arithmetic():
                        loss, values, made = part.module(**images)
                    if part.trains:
                        with self.own_time.waits_at_the_end(part.module):
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
        self._rehearsed = True
        if self.world.size == 1 or self.fast:
            return
        batches = [dict(images) for images in batches]
        for part in self._parts:
            random = RandomNumbers(self.world.device)
            random.save()
            self._differentiate(part, [part.player.inputs(images) for images in batches], batches)
            random.restore()

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self.config.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16)

    def state_dict(self) -> dict[str, Any]:
        """State that is the same on all ranks: networks, moments, averaged generators."""
        state = {
            "networks": self.method.networks.state_dict(),
            "optimizers": {part.player.name: part.state_dict() for part in self._parts},
        }
        return state if self._average is None else {**state, "ema": self._average.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.method.networks.load_state_dict(state["networks"])
        for part in self._parts:
            part.load_state_dict(state["optimizers"][part.player.name])
        if self._average is not None:
            self._average.load_state_dict(state["ema"])
        if self._flag is not None:
            self._flag.reset()
        if self.fast:  # the moments have new addresses
            self._graph = GraphedUpdate(self._update, self.world.device)
