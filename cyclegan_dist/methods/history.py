"""History buffer of generated images (paper section 4, after Shrivastava et al. 2017).

Half of the time a discriminator is trained with an earlier image instead of the newest one, which reduces oscillation.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cyclegan_dist.methods.contract import Images


class HistoryBuffer:
    """Generated images of one domain on one rank: at most `pool_size` images; 0 disables the buffer.

    Until it is full, each image is stored and returned. Then, with probability 0.5 for each image, a random stored
    image is returned and replaced by the new one; otherwise the new image is returned. The buffer has its own random
    generator, so that ranks differ from each other and a resumed run makes the same choices.

    There are two ways to use it, with the same choices and the same results: `query`, and `draw` followed by
    `exchange`, which reads nothing from the device and can be part of a CUDA graph.
    """

    def __init__(self, pool_size: int, *, seed: int):
        self.pool_size = pool_size
        self._rng = torch.Generator().manual_seed(seed)
        self._stored: list[Tensor] = []
        self._rows: Tensor | None = None  # instead, for `exchange`: pool_size images, then a row for each new one
        self._filled = 0  # slots

    @property
    def images(self) -> list[Tensor]:
        """The stored images, C x H x W."""
        return self._stored if self._rows is None else list(self._rows[: self._filled])

    def query(self, images: Tensor) -> Tensor:
        """Exchange N x C x H x W detached images for the same number of new or earlier ones."""
        if self.pool_size == 0:
            return images
        if self._rows is not None:
            self._stored, self._rows = [row.clone() for row in self.images], None
        return torch.stack([self._query(image, alone=len(images) == 1) for image in images])

    def _query(self, image: Tensor, *, alone: bool) -> Tensor:
        slot = self._choose()
        if slot is None:
            return image
        if slot == len(self._stored):
            self._stored.append(image.clone())
            return image
        if self._stored[slot].shape != image.shape and not alone:  # it cannot be stacked with the rest of the batch
            return image
        stored, self._stored[slot] = self._stored[slot], image.clone()
        return stored.to(image.device)

    def _choose(self) -> int | None:
        """The slot of the next image, which may be the next free one; None: the image is returned and not stored."""
        if self._filled < self.pool_size:
            self._filled += 1
            return self._filled - 1
        if torch.rand((), generator=self._rng) < 0.5:
            return None
        return int(torch.randint(self.pool_size, (), generator=self._rng))

    def draw(self, count: int) -> Tensor:
        """The choices for the next `count` images, as 2 x count row numbers for `exchange`, on the CPU: the row whose
        image is returned, and the row that the new image is written to.

        Row pool_size + i is the new image i itself. No row is written twice: of several images with the same slot, each
        returns the one before, and the last is stored.
        """
        new = range(self.pool_size, self.pool_size + count)
        returned, written, last = list(new), list(new), dict[int, int]()
        for i in range(count):
            filled = self._filled
            slot = self._choose()
            if slot is None:
                continue
            if slot in last:
                returned[i] = written[last[slot]] = new[last[slot]]
            elif slot < filled:
                returned[i] = slot
            written[i], last[slot] = slot, i
        return torch.tensor([returned, written])

    def exchange(self, images: Tensor, rows: Tensor) -> Tensor:
        """Like `query`, with the choices of `draw` on the images' device. All images must have the same shape."""
        if self._rows is None:
            self._rows = images.new_zeros(self.pool_size + len(images), *images.shape[1:])
            for row, image in zip(self._rows, self._stored, strict=False):
                row.copy_(image)
            self._stored = []
        self._rows[self.pool_size :].copy_(images)
        returned = self._rows.index_select(0, rows[0])
        self._rows.index_copy_(0, rows[1], images)
        return returned

    def state_dict(self) -> dict[str, Any]:
        """The images and the random generator's state, as plain tensors."""
        images = self.images if self._rows is None else [row.clone() for row in self.images]
        return {"images": list(images), "rng": self._rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._load(state["images"])
        self._rng.set_state(state["rng"])

    def deal(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        """Load this rank's share of the buffers of a run that had another number of ranks.

        All images, in rank order, are distributed round-robin; images in excess of pool_size are dropped, and the
        oldest are kept. This buffer's random generator is not changed.
        """
        everything = [image for state in states for image in state["images"]]
        self._load(everything[rank::world_size][: self.pool_size])

    def _load(self, images: list[Tensor]) -> None:
        self._stored, self._rows, self._filled = list(images), None, len(images)


class Histories(dict[str, HistoryBuffer]):
    """A rank's history buffers by key, for a player's `recall` and `draw` and a method's state.

    Args:
        pool_size: of each buffer.
        images: the generated images that each buffer exchanges: by key, their name.
        rank_seed: seeds the buffers, with different numbers; must differ between ranks.
    """

    def __init__(self, pool_size: int, images: Mapping[str, str], *, rank_seed: int):
        seeds = range(len(images) * rank_seed, len(images) * (rank_seed + 1))
        super().__init__((key, HistoryBuffer(pool_size, seed=seed)) for key, seed in zip(images, seeds, strict=True))
        self._images = dict(images)

    def recall(self, images: Images) -> Images:
        """`images` with the generated ones among them exchanged: by the choices `history_KEY`, if there are any."""
        recalled = dict(images)
        for key, name in self._images.items():
            rows, new = recalled.pop(f"history_{key}", None), images.get(name)
            if new is not None:
                recalled[name] = self[key].query(new) if rows is None else self[key].exchange(new, rows)
        return recalled

    def draw(self, count: int, keys: Iterable[str] | None = None) -> Images:
        """The choices of `recall` for `count` images, of all buffers or of those of `keys`."""
        chosen = self if keys is None else keys
        return {f"history_{key}": self[key].draw(count) for key in chosen if self[key].pool_size}

    def state(self) -> dict[str, Any]:
        """All images and random generators, for `Method.rank_state`."""
        return {key: buffer.state_dict() for key, buffer in self.items()}

    def load(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        """As `Method.load_rank_state`: this rank's buffers, or its share of those of another number of ranks."""
        for key, buffer in self.items():
            if len(states) == world_size:
                buffer.load_state_dict(states[rank][key])
            else:
                buffer.deal([state[key] for state in states], rank, world_size)
