"""Which sample is seen when: the order of a run as arithmetic.

Each domain is an endless sequence of passes over its samples; pass k is a permutation drawn from (seed, domain, k)
alone. Step s of global batch size n takes positions s*n ... s*n + n - 1 of both sequences, and rank r of W its r-th
share of them. So all ranks have the same number of steps whatever the shards, every sample is seen exactly once in each
pass over all ranks, A and B are drawn independently, and any step, of any world size, is found without having walked
there. An epoch is max(|A|, |B|) images, one pass of the larger domain; the smaller one starts over, reshuffled, on its
own clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DOMAINS = ("A", "B")


@dataclass(frozen=True)
class Plan:
    """The order of one run.

    Attributes:
        samples: number of samples of domain "A" and of domain "B".
        seed: of the run.
        batch_size: images per domain and step over all ranks.
    """

    samples: Mapping[str, int]
    seed: int
    batch_size: int

    @property
    def epoch_size(self) -> int:
        """Images per domain in one epoch."""
        return max(self.samples.values())

    def sample(self, domain: str, position: int) -> int:
        """Index of the sample that stands at `position` (0-based, endless) of `domain`."""
        passes, place = divmod(position, self.samples[domain])
        return int(_permutation(self.seed, domain, passes, self.samples[domain])[place])

    def positions(self, step: int, rank: int, world_size: int) -> range:
        """The positions that `rank` computes in `step` (0-based), the same for both domains."""
        share = self.batch_size // world_size
        first = step * self.batch_size + rank * share
        return range(first, first + share)


@lru_cache(maxsize=4)  # at a boundary both domains may need the last pass and the next
def _permutation(seed: int, domain: str, passes: int, n: int) -> np.ndarray:
    order = np.random.default_rng([seed, DOMAINS.index(domain), passes]).permutation(n)
    return order.astype(np.int32 if n < 2**31 else np.int64)
