"""The order of samples in a run, computed from seed and step.

Each domain is an endless sequence of passes over its samples; the order of pass k is drawn from (seed, domain, k)
alone. Step s of global batch size n takes positions s*n ... s*n + n - 1 of both sequences, and rank r of W its r-th
share of them. So all ranks have the same number of steps whatever the shards, every sample is seen exactly once in each
pass over all ranks, A and B are drawn independently, and any step at any world size is computed directly. An epoch is
max(|A|, |B|) images, one pass of the larger domain; the smaller one starts over, reshuffled, independently of it.

The order of a pass is drawn in two stages, so that reading stays mostly sequential however large the domain: blocks of
neighbours in the shards are shuffled as wholes, and samples are shuffled within windows of that sequence of blocks. A
domain that fits into one window, as all of the paper's do, is shuffled uniformly.

With pairing `serial` nothing is drawn: image i of an epoch is sample i of each domain modulo its size, so that the
smaller domain starts over with each epoch and the same images always meet.

For methods that learn from pairs only A is drawn, and each image of A comes with its partner in B. For methods that
learn from some pairs besides, those are a third sequence, drawn independently of A and B: every step has as many of
them as images of a domain, however few there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from cyclegan_dist.data.config import DataPairing

DOMAINS = ("A", "B")
PAIR = "pair"  # the third sequence
_SEQUENCES = (*DOMAINS, PAIR)
BLOCK = 256  # neighbours in a shard that one window reads


@dataclass(frozen=True)
class Plan:
    """The order of one run.

    Attributes:
        samples: number of samples of domain "A" and of domain "B".
        seed: of the run.
        batch_size: images per domain and step over all ranks.
        window: samples that are shuffled uniformly; rounded up to whole blocks of 256.
        partners: for each sample of A its partner in B, if both are drawn together.
        pairs: m x 2, the samples of A and of B that are pairs, if they are drawn besides.
        pairing: `random` or `serial`, see above.
    """

    samples: Mapping[str, int]
    seed: int
    batch_size: int
    window: int = 16384
    partners: np.ndarray | None = field(default=None, compare=False)
    pairing: DataPairing = "random"
    pairs: np.ndarray | None = field(default=None, compare=False)

    @property
    def epoch_size(self) -> int:
        """Images per domain in one epoch."""
        return max(self.samples.values())

    @property
    def sequences(self) -> dict[str, tuple[str, ...]]:
        """What is drawn, `A` and `B`, or `A` alone, or also `pair`, and the domains whose samples come with it."""
        if self.partners is not None:
            return {"A": DOMAINS}
        alone: dict[str, tuple[str, ...]] = {domain: (domain,) for domain in DOMAINS}
        return alone if self.pairs is None else {**alone, PAIR: DOMAINS}

    def count(self, drawn: str) -> int:
        """Number of samples of a domain, or of pairs."""
        return len(self.pairs) if drawn == PAIR and self.pairs is not None else self.samples[drawn]

    def sample(self, drawn: str, position: int) -> int:
        """Index of the sample, or of the pair, at `position` (0-based, endless) of a sequence."""
        if self.partners is not None and drawn == "B":
            return int(self.partners[self.sample("A", position)])
        n = self.count(drawn)
        if self.pairing == "serial":
            return position % self.epoch_size % n
        passes, place = divmod(position, n)
        draw = (self.seed, _SEQUENCES.index(drawn), passes)
        blocks_each = -(-self.window // BLOCK)
        if n <= blocks_each * BLOCK:
            return int(_window(draw, 0, 0, n)[place])
        blocks, starts = _blocks(draw, n, blocks_each)
        number = int(np.searchsorted(starts, place, side="right")) - 1
        start, end = int(starts[number]), int(starts[number + 1])
        place = int(_window(draw, number, start, end)[place - start])
        for block in blocks[number * blocks_each : (number + 1) * blocks_each]:
            size = min(BLOCK, n - int(block) * BLOCK)
            if place < size:
                return int(block) * BLOCK + place
            place -= size
        raise AssertionError("a window holds its blocks' samples")

    def index_of(self, domain: str, drawn: str, index: int) -> int:
        """The sample of `domain` that comes with `index` of the sequence `drawn`: itself, or its partner."""
        if domain == drawn:
            return index
        if drawn == PAIR and self.pairs is not None:
            return int(self.pairs[index, DOMAINS.index(domain)])
        assert self.partners is not None, "domains that are drawn independently have no partners"
        return int(self.partners[index])

    def generator(self, drawn: str, position: int, *more: int) -> np.random.Generator:
        """Random numbers for a position of a sequence: the same on every rank and after a resume."""
        return np.random.default_rng([self.seed, _SEQUENCES.index(drawn), position, *more])

    def positions(self, step: int, rank: int, world_size: int) -> range:
        """The positions that `rank` computes in `step` (0-based), the same for all sequences."""
        share = self.batch_size // world_size
        first = step * self.batch_size + rank * share
        return range(first, first + share)


@lru_cache(maxsize=4)  # at a boundary both domains may need the last pass and the next
def _blocks(draw: tuple[int, ...], n: int, blocks_each: int) -> tuple[np.ndarray, np.ndarray]:
    """The blocks of a pass in their order, and where each window of `blocks_each` begins, with `n` at the end."""
    blocks = np.random.default_rng([*draw, 0, 1]).permutation(-(-n // BLOCK))
    sizes = np.minimum(BLOCK, n - blocks * BLOCK)  # the last block of the shards is smaller, at any place in the order
    ends = np.cumsum(sizes)
    return blocks, np.unique(np.concatenate([[0], ends[blocks_each - 1 :: blocks_each], [n]]))


@lru_cache(maxsize=4)
def _window(draw: tuple[int, ...], number: int, start: int, end: int) -> np.ndarray:
    """The order of places within one window."""
    return np.random.default_rng([*draw, number]).permutation(end - start).astype(np.int32)
