"""Options of the update: batch, Adam and arithmetic. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclegan_dist.errors import UsageError
from cyclegan_dist.networks.bounds import Ge, Gt, Lt

Precision = Literal["fp64", "fp32", "bf16", "auto"]


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Batch, Adam and arithmetic. The defaults are the paper's (section 7.1)."""

    batch_size: Annotated[int, Gt(0)] = 1
    """Images per domain in one update, over all ranks together."""
    micro_batch: Annotated[int, Ge(0)] = 0
    """Images per domain that one rank computes at once; it accumulates gradients until its share of batch_size is done.
    0: the whole share."""
    activation_checkpointing: bool = False
    """The backward pass computes the generators' residual blocks again, instead of keeping what is within them: less
    memory for large images, more computing, the same losses."""
    lr: Annotated[float, Gt(0)] = 2e-4
    """Adam's learning rate for generators, and for discriminators unless lr_D says otherwise."""
    lr_D: Annotated[float, Ge(0)] = 0.0
    """Adam's learning rate for discriminators. 0: lr."""
    lr_scaling: Literal["none", "sqrt", "linear"] = "none"
    """What a batch_size above 1 multiplies lr with: 1, its square root, or itself."""
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.5
    """Adam's first decay rate."""
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """Adam's second decay rate."""
    beta1_D: Annotated[float, Ge(-1), Lt(1)] = -1.0
    """Adam's first decay rate for discriminators, from 0 on. -1: beta1."""
    beta2_D: Annotated[float, Ge(-1), Lt(1)] = -1.0
    """Adam's second decay rate for discriminators, from 0 on. -1: beta2."""
    fast: Literal["auto", "on", "off"] = "auto"
    """Fused layers in N x H x W x C layout, and the whole update as one CUDA graph. `auto`: on a GPU. Losses stay the
    same but for rounding. A gradient that is not finite is noticed when losses are logged or something is saved; no
    weight changes after it."""
    precision: Precision = "fp32"
    """`bf16`: autocast, weights and losses stay fp32. `fp64`: everything in double, to compare runs. `auto`: bf16 where
    the processors or GPUs of all ranks have instructions for it, else fp32; chosen once for a run, before its first
    step."""
    ema_half_life_images: Annotated[float, Ge(0)] = 0.0
    """Half-life, in images per domain, of the moving average of the generators, which snapshots then hold. 0: none."""
    ema_ramp: Annotated[float, Ge(0)] = 0.05
    """Maximum of that half-life relative to the images averaged so far, so that the random start does not stay in the
    average; 0.05 is that of Karras et al. 2020 (arXiv 2006.06676, `ema_rampup`). 0: no maximum."""

    def __post_init__(self) -> None:
        for name, beta in (("beta1_D", self.beta1_D), ("beta2_D", self.beta2_D)):
            if -1 < beta < 0:
                raise UsageError(f"optim.{name} {beta}: give at least 0, or -1 for the generators' value")

    def betas(self, role: Literal["generator", "discriminator"]) -> tuple[float, float]:
        """Adam's decay rates for players of this role."""
        both = (self.beta1, self.beta1_D), (self.beta2, self.beta2_D)
        first, second = (own if role == "discriminator" and own >= 0 else beta for beta, own in both)
        return first, second

    def is_fast(self, device: str) -> bool:
        """Whether `fast` is on, for a device of this type (`cpu` or `cuda`)."""
        return self.fast == "on" or (self.fast == "auto" and device == "cuda")

    def learning_rate(self) -> float:
        """The learning rate after lr_scaling."""
        return self.lr * {"none": 1.0, "sqrt": self.batch_size**0.5, "linear": float(self.batch_size)}[self.lr_scaling]

    @property
    def lr_ratio(self) -> float:
        """The discriminators' learning rate relative to the generators'."""
        return self.lr_D / self.lr if self.lr_D else 1.0

    def micro_batches(self, world_size: int, largest: int = 0) -> tuple[int, int]:
        """(images per micro-batch, micro-batches per step) of one rank.

        Args:
            world_size: number of ranks.
            largest: maximum number of ranks of an elastic run. Fewer ranks use micro-batches of at most the size for
                `largest` ranks, and accumulate gradients.

        Raises:
            UsageError: if batch_size is not a multiple of world_size times the micro-batch.
        """
        share, rest = divmod(self.batch_size, world_size)
        if rest or not share:
            raise UsageError(
                f"batch_size {self.batch_size} cannot be shared by {world_size} ranks: give optim.batch_size a "
                f"multiple of {world_size}, or world.num_workers a divisor of {self.batch_size}"
            )
        micro = self.micro_batch or share
        if largest:
            most = self.micro_batch or self.batch_size // self.largest_world(largest)
            micro = max(size for size in range(1, most + 1) if share % size == 0)
        if share % micro:
            raise UsageError(
                f"each of {world_size} ranks computes {share} of batch_size {self.batch_size}: "
                f"give optim.micro_batch a divisor of {share}, not {micro}"
            )
        return micro, share // micro

    def largest_world(self, room: int) -> int:
        """The largest number of ranks, at most `room`, that can share the batch."""
        return max(size for size in range(1, room + 1) if self.batch_size % size == 0)
