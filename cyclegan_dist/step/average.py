"""Moving average of the translators' weights (`optim.ema_decay`), which snapshots then hold."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage:
    """The average over updates of the weights of `translators`; the first average is the first value."""

    def __init__(self, translators: Mapping[str, nn.Module], decay: float):
        self.decay = decay
        self._trained = nn.ModuleDict({f"G_{direction}": network for direction, network in translators.items()})
        average: Callable[..., None] = get_ema_multi_avg_fn(decay)  # pyright: ignore
        self._model = AveragedModel(self._trained, multi_avg_fn=average)
        self._updates = 0

    @property
    def translators(self) -> dict[str, nn.Module]:
        """The averaged network of each direction."""
        assert isinstance(self._model.module, nn.ModuleDict)
        return {name.removeprefix("G_"): network for name, network in self._model.module.items()}

    def update(self) -> None:
        """Add the current weights."""
        self._model.update_parameters(self._trained)

    @torch.no_grad()
    def update_unless(self, found: Tensor) -> None:
        """Add the current weights if `found` is 0, not if it is 1, without reading it. The host must `count` the update
        itself, because a CUDA graph does not contain that.
        """
        share = (1 - self.decay) * (1 - found)
        for average, weight in zip(self._model.parameters(), self._trained.parameters(), strict=True):
            if self._updates:
                average.lerp_(weight, share.to(weight.dtype))
            else:  # during warm-up, so a graph never contains this
                average.copy_(weight)

    def count(self) -> None:
        """Count a call of `update_unless`."""
        self._updates += 1
        self._model.n_averaged.fill_(self._updates)

    def state_dict(self) -> dict[str, Any]:
        return self._model.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._model.load_state_dict(state)
        self._updates = int(self._model.n_averaged)
