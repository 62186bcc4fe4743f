"""History of generated images (paper section 4, after Shrivastava et al. 2017).

A discriminator is shown not only the newest fakes but, half of the time, one made earlier, which damps oscillation.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class HistoryBuffer:
    """The last fakes of one domain on one rank: at most `pool_size` images, 0 switches it off.

    While it fills, an image is stored and returned. Once full, with probability 0.5 a random stored image is returned
    and the new one takes its place; else the new one is returned. Decided for each image. Decisions come from a
    generator of its own, so that ranks differ from each other and a resumed run goes on with the same choices.
    """

    def __init__(self, pool_size: int, *, seed: int):
        self.pool_size = pool_size
        self.images: list[Tensor] = []
        self._rng = torch.Generator().manual_seed(seed)

    def query(self, images: Tensor) -> Tensor:
        """Exchange N x C x H x W detached images for as many from now or earlier."""
        if self.pool_size == 0:
            return images
        return torch.stack([self._exchange(image, alone=len(images) == 1) for image in images])

    def _exchange(self, image: Tensor, *, alone: bool) -> Tensor:
        if len(self.images) < self.pool_size:
            self.images.append(image.clone())
            return image
        if torch.rand((), generator=self._rng) < 0.5:
            return image
        slot = int(torch.randint(self.pool_size, (), generator=self._rng))
        if self.images[slot].shape != image.shape and not alone:  # it could not stand beside the batch's others
            return image
        stored, self.images[slot] = self.images[slot], image.clone()
        return stored.to(image.device)

    def state_dict(self) -> dict[str, Any]:
        """The images and the state of the generator: plain tensors."""
        return {"images": list(self.images), "rng": self._rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.images = list(state["images"])
        self._rng.set_state(state["rng"])

    def deal(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        """Take this rank's share of the buffers of a run that had another number of ranks.

        All their images, rank after rank, are dealt out one by one like cards; what exceeds pool_size is left out,
        oldest kept. The generator of this buffer stays as it was made.
        """
        everything = [image for state in states for image in state["images"]]
        self.images = everything[rank::world_size][: self.pool_size]
