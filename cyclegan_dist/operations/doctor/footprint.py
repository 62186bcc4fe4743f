"""Memory that a rank needs, estimated from its config: the networks are run on tensors without data, and what they keep
for the backward pass is counted.

The constants were measured with torch 2.14 and Ray 2.60 on a CPU, see `benchmarks.rank_memory`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.config import PREFETCH
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.networks.resnet import ResidualBlock
from cyclegan_dist.operations.sizing.figures import image_shapes, image_side

PROCESS = 780_000_000  # a rank with all libraries, after its first step
STANDBY = 500_000_000  # a standby process beside a rank, which Ray starts to make restarts short
LOADER = 100_000_000  # a loader process, besides what it shares with its rank
CONTEXT = 600_000_000  # of CUDA and its libraries on a GPU
WORKSPACE = 1.1  # of what the backward pass needs, relative to what is kept for it

Values = Mapping[str, ValueRange | None]
"""The value range of each domain; None for one whose images have 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes that ranks need.

    Attributes:
        rank: of main memory, for each rank, with its loader processes and the batches that they keep ready, and with
            its standby process, if there is one.
        first: besides, for the first rank, which copies the state of all to write it to checkpoints.
        card: of a GPU's memory; 0 on a CPU.
    """

    rank: int
    first: int
    card: int

    def on_node(self, ranks: int) -> int:
        """Bytes of main memory for so many ranks, the first among them."""
        return ranks * self.rank + self.first

    def ranks_in(self, memory: float) -> int:
        """How many ranks fit into the memory of a node."""
        return max(0, int((memory - self.first) // self.rank))


def footprint(config: Config, ranks: int, values: Values, *, on_gpu: bool, standby: bool = False) -> Footprint:
    """The memory that each of so many ranks needs.

    Args:
        config: of the training. With `optim.precision auto` this is the memory for fp32.
        ranks: that share a batch.
        values: the value range of each domain.
        on_gpu: whether ranks compute on GPUs.
        standby: whether each has a standby process.
    """
    number = 8 if config.optim.precision == "fp64" else 4
    weights, averaged, history = method_sizes(config)
    averaged = averaged if config.optim.ema_half_life_images else 0
    state = number * (3 * weights + averaged)  # weights and Adam's two moments
    images = images_at_once(config, ranks)
    batch = number * sum(math.prod(shape) for shape in image_shapes(config, images).values())
    kept = saved_bytes(config, images, "cuda" if on_gpu else "cpu")
    step = state + number * (weights + history) + batch + round(WORKSPACE * kept)  # with gradients
    loaders = config.data.workers * LOADER + loader_bytes(config, ranks, values)
    return Footprint(
        rank=PROCESS + STANDBY * standby + loaders + number * history + (0 if on_gpu else step),
        first=state,
        card=CONTEXT + step if on_gpu else 0,
    )


def saved_bytes(config: Config, images: int, device: str) -> int:
    """Bytes that autograd keeps for the backward pass of the player for which it keeps most.

    Where residual blocks are recomputed, this is the inputs of all blocks, what is kept outside of them, and what one
    block keeps while it is computed again.

    Args:
        config: of the training.
        images: of each domain, at once.
        device: `cpu` or `cuda`, which need not be there; the fused layers of `optim.fast` are not used.
    """
    most = 0
    if config.method.double_backward or config.method.trained_with or config.method.taught_by:
        device = "cpu"  # where there is no GPU, gradients cannot be differentiated, and real weights not moved to one
    before = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    # A pretrained network that the method reads brings real tensors.
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device(device):
        method = config.method.build(rank_seed=0)
        weights = {id_of(p) for p in method.networks.parameters()}
        batch = {name: torch.empty(shape) for name, shape in image_shapes(config, images).items()}
        for player in method.players:
            chosen = player.choose(batch, 0, 0) | player.weigh(0)
            batch |= {name: x.to(device) for name, x in chosen.items()}
        # Not torch.autocast, which does nothing for CUDA where there is none.
        torch.set_autocast_enabled(device, config.optim.precision == "bf16")
        torch.set_autocast_dtype(device, torch.bfloat16)
        try:
            for player in method.players:
                kept, in_block = dict[int, Any](), dict[int, Any]()
                blocks = _Blocks(player.module, kept, in_block) if config.optim.activation_checkpointing else None

                def keep(tensor: Tensor, kept: Any = kept, in_block: Any = in_block, blocks: Any = blocks) -> Tensor:
                    if id_of(tensor) not in weights:
                        into = in_block if blocks is not None and blocks.inside else kept
                        into[id_of(tensor)] = tensor.untyped_storage()
                    return tensor

                with saved_tensors_hooks(keep, lambda tensor: tensor):
                    output = player.module(**player.inputs(batch))
                within = 0 if blocks is None else blocks.most
                most = max(most, _bytes(kept) + within)
                batch |= output.images
        finally:
            torch.set_autocast_enabled(device, before[0])
            torch.set_autocast_dtype(device, before[1])
    return most * (2 if config.optim.precision == "fp64" else 1)


class _Blocks:
    """Hooks of a module's residual blocks that put their inputs into `kept`, and find how much one block keeps."""

    def __init__(self, module: nn.Module, kept: dict[int, Any], in_block: dict[int, Any]):
        self.inside, self.most = False, 0
        self._kept, self._in_block = kept, in_block
        for block in module.modules():
            if isinstance(block, ResidualBlock):
                block.register_forward_pre_hook(self._enter)
                block.register_forward_hook(self._leave)

    def _enter(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._kept[id_of(inputs[0])] = inputs[0].untyped_storage()
        self._in_block.clear()
        self.inside = True

    def _leave(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.inside = False
        self.most = max(self.most, _bytes(self._in_block))


def _bytes(storages: Mapping[int, Any]) -> int:
    return sum(storage.nbytes() for storage in storages.values())


def id_of(tensor: Tensor) -> int:
    """The identity of a tensor's storage, which views share."""
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


def images_at_once(config: Config, ranks: int) -> int:
    """Images of each domain in a micro-batch of one rank, at most."""
    return config.optim.micro_batch or -(-config.optim.batch_size // ranks)


def loader_bytes(config: Config, ranks: int, values: Values) -> int:
    """Bytes of shared memory for the batches of one rank's loader: the prefetched ones and the one in use. Images are
    uint8, or float32 where a domain has a value range.
    """
    if not config.data.workers:
        return 0
    shapes = image_shapes(config, images_at_once(config, ranks))
    batch = sum(math.prod(shape) * (1 if values.get(name[-1]) is None else 4) for name, shape in shapes.items())
    return (config.data.workers * PREFETCH + 1) * batch


def method_sizes(config: Config) -> tuple[int, int, int]:
    """Numbers in the networks of the method, in those of them that EMA averages, and in the state of one rank."""
    with torch.device("meta"):  # shapes without memory
        method = config.method.build(rank_seed=0)
    weights = sum(p.numel() for p in method.networks.parameters())
    averaged = sum(p.numel() for network in method.translators.values() for p in network.parameters())
    side, channels = image_side(config), config.method.channels
    stored = sum(count * side * side * channels[domain] for domain, count in config.method.stored_images.items())
    return weights, averaged, stored
