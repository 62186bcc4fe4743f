"""What a step costs on N ranks: arithmetic, gradient exchange, and waiting for the slowest.

    T(N) = T(1) + the exchange of each player that its backward does not hide + sigma * sqrt(2 ln N)

T(1) comes from the floating-point operations that torch counts. The exchange is DistributedDataParallel's: gradients
leave in buckets while backward goes on, and the last bucket, which is ready only when backward ends, is never hidden.
The last summand is how late the slowest of N ranks is whose step times scatter normally by sigma (for large N, from
above).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.step.update import frozen

BACKWARD_SHARE = 2 / 3  # of a training step's operations: gradients by inputs and by weights
BUCKET_BYTES = 25 * 2**20  # DistributedDataParallel's default


@dataclass(frozen=True)
class Work:
    """Of one player in one step of one rank.

    Attributes:
        flops: floating-point operations, forward and backward; an addition and a multiplication are two.
        gradient_bytes: what it exchanges.
    """

    flops: int
    gradient_bytes: int


@dataclass(frozen=True)
class Link:
    """Between ranks.

    Attributes:
        bytes_per_s: that one rank can send while it receives as many.
        latency_s: of one message.
    """

    bytes_per_s: float
    latency_s: float

    def all_reduce_s(self, size: float, ranks: int) -> float:
        """Seconds to add up `size` bytes over `ranks`: as a ring, or as a tree where that has fewer messages."""
        if ranks == 1:
            return 0.0
        transfer_s = 2 * (ranks - 1) / ranks * size / self.bytes_per_s
        return transfer_s + 2 * min(ranks - 1, 2 * math.ceil(math.log2(ranks))) * self.latency_s


def count(config: CycleGANConfig, size: int, micro_batch: int) -> dict[str, Work]:
    """The work of each player, by its name, on images of `size` x `size`. Computes nothing."""
    with torch.device("meta"):
        method = CycleGAN(config)
        images = {f"{kind}_{d}": torch.empty(micro_batch, 3, size, size) for kind in ("real", "fake") for d in "AB"}
    works: dict[str, Work] = {}
    for player in method.players:
        with frozen(player.opponents), FlopCounterMode(display=False) as counter:
            player.module(**player.inputs(images)).loss.backward()
        works[player.name] = Work(counter.get_total_flops(), _gradient_bytes(player.module))
    return works


def _gradient_bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


@dataclass(frozen=True)
class Machine:
    """Where ranks compute.

    Attributes:
        flops_per_s: that a rank reaches in a step.
        link: between ranks.
        overlap: how much of backward can hide exchange: 1 where other hardware than the arithmetic's moves the data, 0
            where the same cores do.
        jitter_s: standard deviation of a rank's step.
    """

    flops_per_s: float
    link: Link
    overlap: float = 1.0
    jitter_s: float = 0.0

    def step_s(self, works: dict[str, Work], ranks: int) -> float:
        """Seconds of one step."""
        alone_s = sum(work.flops for work in works.values()) / self.flops_per_s
        exposed_s = sum(self._exposed_s(work, ranks) for work in works.values())
        return alone_s + exposed_s + self.jitter_s * math.sqrt(2 * math.log(ranks))

    def _exposed_s(self, work: Work, ranks: int) -> float:
        """Of the exchange, what backward does not hide."""
        last = min(BUCKET_BYTES, work.gradient_bytes)
        hidden_at_most_s = self.overlap * BACKWARD_SHARE * work.flops / self.flops_per_s
        before_s = self.link.all_reduce_s(work.gradient_bytes - last, ranks) if work.gradient_bytes > last else 0.0
        return max(0.0, before_s - hidden_at_most_s) + self.link.all_reduce_s(last, ranks)

    def efficiency(self, works: dict[str, Work], ranks: int) -> float:
        """Of N ranks: how much of N times one rank's throughput they reach, each with as many images as that one."""
        return self.step_s(works, 1) / self.step_s(works, ranks)
