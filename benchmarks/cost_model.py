"""Cost model of a step on N ranks: arithmetic, gradient exchange, and waiting for the slowest rank.

    T(N) = T(1) + gradient exchange of each player not overlapped with its backward + sigma * sqrt(2 ln N)

T(1) comes from the floating-point operations that torch counts. The exchange is DistributedDataParallel's: gradients
are sent in buckets during backward, and the last bucket, which is complete only when backward ends, is never
overlapped. The last summand is the expected delay of the slowest of N ranks whose step times are normally distributed
with standard deviation sigma (an upper bound for large N).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.step.update import frozen

BACKWARD_SHARE = 2 / 3  # of a training step's operations: gradients with respect to inputs and to weights
BUCKET_BYTES = 25 * 2**20  # DistributedDataParallel's default


@dataclass(frozen=True)
class Work:
    """Work of one player in one step on one rank.

    Attributes:
        flops: floating-point operations, forward and backward; a multiply-add counts as two.
        gradient_bytes: size of the gradients that are exchanged.
    """

    flops: int
    gradient_bytes: int


@dataclass(frozen=True)
class Link:
    """Network link between ranks.

    Attributes:
        bytes_per_s: bandwidth of one rank in each direction at the same time.
        latency_s: latency of one message.
    """

    bytes_per_s: float
    latency_s: float

    def all_reduce_s(self, size: float, ranks: int) -> float:
        """Seconds of an all-reduce of `size` bytes: as a ring, or as a tree if that needs fewer messages."""
        if ranks == 1:
            return 0.0
        transfer_s = 2 * (ranks - 1) / ranks * size / self.bytes_per_s
        return transfer_s + 2 * min(ranks - 1, 2 * math.ceil(math.log2(ranks))) * self.latency_s


def count(config: CycleGANConfig, size: int, micro_batch: int) -> dict[str, Work]:
    """The work of each player, by name, on images of `size` x `size`, counted on the meta device."""
    with torch.device("meta"):
        method = CycleGAN(config)
        images = {f"{kind}_{d}": torch.empty(micro_batch, 3, size, size) for kind in ("real", "fake") for d in "AB"}
    work_by_player: dict[str, Work] = {}
    for player in method.players:
        with frozen(player.opponents), FlopCounterMode(display=False) as counter:
            player.module(**player.inputs(images)).loss.backward()
        work_by_player[player.name] = Work(counter.get_total_flops(), _gradient_bytes(player.module))
    return work_by_player


def _gradient_bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


@dataclass(frozen=True)
class Machine:
    """Hardware that the ranks run on.

    Attributes:
        flops_per_s: floating-point operations per second that a rank reaches in a step.
        link: network link between ranks.
        overlap: share of backward that can overlap with the exchange: 1 if dedicated hardware moves the data, 0 if
            the cores that compute also move it.
        jitter_s: standard deviation of a rank's step time.
    """

    flops_per_s: float
    link: Link
    overlap: float = 1.0
    jitter_s: float = 0.0

    def step_s(self, work_by_player: dict[str, Work], ranks: int) -> float:
        """Seconds of one step."""
        alone_s = sum(work.flops for work in work_by_player.values()) / self.flops_per_s
        exposed_s = sum(self._exposed_s(work, ranks) for work in work_by_player.values())
        return alone_s + exposed_s + self.jitter_s * math.sqrt(2 * math.log(ranks))

    def _exposed_s(self, work: Work, ranks: int) -> float:
        """Seconds of the exchange that do not overlap with backward."""
        last = min(BUCKET_BYTES, work.gradient_bytes)
        hidden_at_most_s = self.overlap * BACKWARD_SHARE * work.flops / self.flops_per_s
        before_s = self.link.all_reduce_s(work.gradient_bytes - last, ranks) if work.gradient_bytes > last else 0.0
        return max(0.0, before_s - hidden_at_most_s) + self.link.all_reduce_s(last, ranks)

    def efficiency(self, work_by_player: dict[str, Work], ranks: int) -> float:
        """Throughput of N ranks relative to N times that of one rank, with the same number of images per rank."""
        return self.step_s(work_by_player, 1) / self.step_s(work_by_player, ranks)
