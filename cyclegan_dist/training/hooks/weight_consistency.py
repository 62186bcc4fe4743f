"""Check that all ranks have equal weights. A flipped bit in one rank's memory raises no error by itself."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from cyclegan_dist.step.distributed import World
from cyclegan_dist.training.hooks.progress import Progress


class DivergedError(RuntimeError):
    """Ranks have different weights. A restart from the last checkpoint fixes it."""


class WeightConsistency:
    """Every `every` images and at the end, before anything is saved, compare a digest of all ranks' weights.

    Args:
        every: images between two comparisons.
        world: this rank among all.
        weights: the tensors that must be equal.
        last_good: describes the last checkpoint, for the message.
    """

    def __init__(self, every: int, world: World, weights: Callable[[], Iterable[Tensor]], last_good: Callable[[], str]):
        self.every, self.world, self.weights, self.last_good = every, world, weights, last_good

    def __call__(self, at: Progress) -> None:
        if at.due(self.every):
            self._compare(at)

    def end(self, at: Progress) -> None:
        if self.every:
            self._compare(at)

    def _compare(self, at: Progress) -> None:
        """Exchange digests.

        Raises:
            DivergedError: on all ranks, if they differ.
        """
        if self.world.size == 1:
            return
        digests = self.world.gather(digest(self.weights()))
        others = [rank for rank, other in enumerate(digests) if other != digests[0]]
        if others:
            raise DivergedError(
                f"step {at.step}: the weights of rank {', '.join(map(str, others))} differ from those of rank 0: "
                f"a memory or network error. Run the same command again, which resumes from {self.last_good()}"
            )


@torch.no_grad()
def digest(tensors: Iterable[Tensor]) -> int:
    """A hash that any single flipped bit changes: the bit patterns as 64-bit integers, each times its odd position,
    summed modulo 2**64. Computed on the tensors' device, in integers, so the order of summation does not matter.
    """
    total = 0
    for number, tensor in enumerate(tensors):
        raw = tensor.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)  # aligned to 8 bytes
        whole = len(raw) // 8 * 8
        for part, bits in enumerate((raw[:whole].view(torch.int64), raw[whole:].to(torch.int64))):
            positions = 2 * torch.arange(len(bits), device=bits.device) + 1
            total += (4 * number + 2 * part + 1) * int((bits * positions).sum())
    return total % 2**64
