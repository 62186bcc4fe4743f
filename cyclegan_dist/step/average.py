"""Moving average of the translators' weights (`optim.ema_half_life_images`), which snapshots then hold."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class MovingAverage:
    """The average over updates of the weights of `translators`; the first average is the first value.

    After n updates the next one has the share 1 - 2^(-batch / h) in the average, where h is `half_life`, or `ramp`
    times the images of n updates if that is less: weights of the start do not stay in it.

    Args:
        translators: network of each direction.
        half_life: images after which weights have half of their share.
        ramp: maximum half-life relative to the images averaged so far; 0: none.
        batch: images in an update.
    """

    def __init__(self, translators: Mapping[str, nn.Module], *, half_life: float, ramp: float, batch: int):
        self._half_life, self._ramp, self._batch = half_life, ramp, batch
        self._trained = nn.ModuleDict({f"G_{direction}": network for direction, network in translators.items()})
        self._averaged = copy.deepcopy(self._trained).requires_grad_(False)
        self._updates = 0
        first = next(self._trained.parameters())
        # On the device, and filled by the host before each update: in a CUDA graph, a number would be constant.
        self._share = torch.ones((), dtype=first.dtype, device=first.device)

    @property
    def translators(self) -> dict[str, nn.Module]:
        """The averaged network of each direction."""
        return {name.removeprefix("G_"): network for name, network in self._averaged.items()}

    def begin(self) -> None:
        """Count the update that comes, and set its share. A CUDA graph does not contain this."""
        self._share.fill_(self.share(self._updates))
        self._updates += 1

    def share(self, updates: int) -> float:
        """The share of the weights after so many earlier updates."""
        half_life = self._half_life
        if self._ramp:
            half_life = min(half_life, self._ramp * updates * self._batch)
        return -math.expm1(-math.log(2) * self._batch / half_life) if updates else 1.0

    @torch.no_grad()
    def update(self, found: Tensor | None = None) -> None:
        """Add the current weights, unless `found` is 1; it is not read by the host."""
        share = self._share if found is None else (self._share * (1 - found)).to(self._share.dtype)
        for average, weight in zip(self._averaged.parameters(), self._trained.parameters(), strict=True):
            average.lerp_(weight, share)
        for average, value in zip(self._averaged.buffers(), self._trained.buffers(), strict=True):
            average.copy_(value)  # statistics of batch norm are averages already

    def state_dict(self) -> dict[str, Any]:
        """With the keys of torch's AveragedModel, as in checkpoints of earlier versions."""
        weights = {f"module.{name}": value for name, value in self._averaged.state_dict().items()}
        return {"n_averaged": torch.tensor(self._updates, device="cpu"), **weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        weights = {name.removeprefix("module."): value for name, value in state.items() if name != "n_averaged"}
        self._averaged.load_state_dict(weights)
        self._updates = int(state["n_averaged"])
