"""Time of a gradient exchange between ranks. Does not import torch at module level."""

import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclegan_dist.step.distributed import World

SMALL, LARGE = 4 << 10, 16 << 20  # bytes
REPEATS = 15


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
        messages = 2 * min(ranks - 1, 2 * math.ceil(math.log2(ranks)))
        return ring_share(ranks) * size / self.bytes_per_s + messages * self.latency_s


def ring_share(ranks: int) -> float:
    """What each rank sends in a ring all-reduce, relative to the size of the tensor."""
    return 2 * (ranks - 1) / ranks


def measure_link(world: "World") -> Link:
    """Bandwidth and latency between the ranks of `world`, at least two, from all-reduces of a small and of a large
    tensor. All ranks must call it.
    """
    import torch
    import torch.distributed as torch_dist

    times: dict[int, float] = {}
    for size in (SMALL, LARGE):
        tensor = torch.ones(size // 4, device=world.device)
        seconds: list[float] = []
        for _ in range(REPEATS):
            torch_dist.barrier(group=world.group)
            began = time.perf_counter()
            torch_dist.all_reduce(tensor, group=world.group)
            if tensor.is_cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        times[size] = statistics.median(seconds)
    per_byte = (times[LARGE] - times[SMALL]) / (LARGE - SMALL)
    latency_s = max(0.0, times[SMALL] - SMALL * per_byte) / (2 * (world.size - 1))
    return Link(bytes_per_s=ring_share(world.size) / per_byte, latency_s=latency_s)
