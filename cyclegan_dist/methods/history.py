"""History buffer of generated images (paper section 4, after Shrivastava et al. 2017).

Half of the time a discriminator is trained with an earlier image instead of the newest one, which reduces oscillation.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class HistoryBuffer:
    """Generated images of one domain on one rank: at most `pool_size` images; 0 disables the buffer.

    Until it is full, each image is stored and returned. Then, with probability 0.5 for each image, a random stored
    image is returned and replaced by the new one; otherwise the new image is returned. The buffer has its own random
    generator, so that ranks differ from each other and a resumed run makes the same choices.
    """

    def __init__(self, pool_size: int, *, seed: int):
        self.pool_size = pool_size
        self.images: list[Tensor] = []
        self._rng = torch.Generator().manual_seed(seed)

    def query(self, images: Tensor) -> Tensor:
        """Exchange N x C x H x W detached images for the same number of new or earlier ones."""
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
        if self.images[slot].shape != image.shape and not alone:  # it cannot be stacked with the rest of the batch
            return image
        stored, self.images[slot] = self.images[slot], image.clone()
        return stored.to(image.device)

    def state_dict(self) -> dict[str, Any]:
        """The images and the random generator's state, as plain tensors."""
        return {"images": list(self.images), "rng": self._rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.images = list(state["images"])
        self._rng.set_state(state["rng"])

    def deal(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        """Load this rank's share of the buffers of a run that had another number of ranks.

        All images, in rank order, are distributed round-robin; images in excess of pool_size are dropped, and the
        oldest are kept. This buffer's random generator is not changed.
        """
        everything = [image for state in states for image in state["images"]]
        self.images = everything[rank::world_size][: self.pool_size]
