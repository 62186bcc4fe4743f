"""Detection of gradients that are infinite or not a number, before they reach a weight.

A step that runs on a CPU or one kernel at a time asks after each backward (`refuse_non_finite`). A step that runs as a
CUDA graph cannot ask: `FiniteFlag` sets a flag on the device, with which fused Adam changes nothing, and the host reads
it later.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class NonFiniteError(RuntimeError):
    """A gradient is infinite or not a number, on all ranks. The weights of its player have not changed; if players
    update in turn, those of the players before it have.

    Attributes:
        losses: this rank's losses of that update, by name.
        updates_ago: number of updates after that one; they have changed no weight.
    """

    def __init__(self, text: str, losses: Mapping[str, float] | None = None, updates_ago: int = 0):
        super().__init__(text)
        self.losses, self.updates_ago = losses or {}, updates_ago


def refuse_non_finite(
    gradients: Mapping[str, Sequence[Tensor]], moved: Sequence[str], losses: Mapping[str, Tensor]
) -> None:
    """Raise if a gradient of a player is not finite.

    Gradients are already averaged over ranks, so a bad value of one rank is in every rank's norm and all ranks raise.
    All players are read at once, because each read synchronises with the GPU.

    Args:
        gradients: of each player that is about to move.
        moved: the players that have moved in this update.
        losses: for the error.

    Raises:
        NonFiniteError: naming the first such player.
    """
    norms = _norms(gradients)
    if not norms.isfinite().all():
        lost = next(name for name, norm in zip(gradients, norms, strict=True) if not norm.isfinite())
        raise NonFiniteError(_message(lost, moved), {name: float(value) for name, value in losses.items()})


class FiniteFlag:
    """A flag on the device that stays set from the first non-finite gradient on, and what is needed to say where.

    Args:
        groups: names of the players that move at once, group after group.
        device: of the gradients.

    Attributes:
        found: 0 or 1, as `found_inf` of a fused optimizer.
    """

    def __init__(self, groups: Sequence[Sequence[str]], device: torch.device):
        self._groups = groups
        self.found = torch.zeros((), device=device)
        self._before = torch.zeros((), device=device)
        self._lost = {name: torch.zeros((), device=device) for group in groups for name in group}
        self._good = torch.zeros((), device=device)  # updates without one since the last `check`
        self._losses: dict[str, Tensor] = {}  # of the last update, or of the one with the first non-finite gradient
        self._updates = 0

    def begin(self) -> None:
        """Start an update."""
        self._before.copy_(self.found)

    def add(self, gradients: Mapping[str, Sequence[Tensor]]) -> None:
        """Set the flag if a gradient of a player is not finite. Gradients are already averaged over ranks."""
        bad = (~_norms(gradients).isfinite()).float() * (1 - self._before)
        for name, one in zip(gradients, bad, strict=True):
            self._lost[name].copy_(torch.maximum(self._lost[name], one))
        self.found.copy_(torch.maximum(self.found, bad.amax()))

    def end(self, losses: Mapping[str, Tensor]) -> None:
        """Keep the losses of an update, unless the flag was set before it."""
        for name, value in losses.items():
            kept = self._losses.setdefault(name, torch.zeros_like(value))
            kept.copy_(torch.where(self._before > 0, kept, value))
        self._good.add_(1 - self.found)

    def count(self) -> None:
        """Count an update, on the host."""
        self._updates += 1

    def check(self) -> None:
        """Read the flag, which waits for the device.

        Raises:
            NonFiniteError: if it is set.
        """
        tensors = (self.found, self._good, *self._lost.values(), *self._losses.values())
        found, good, *values = map(float, torch.stack([x.double() for x in tensors]).cpu())
        updates, self._updates = self._updates, 0
        self._good.zero_()
        if not found:
            return
        lost = next(name for name, value in zip(self._lost, values, strict=False) if value)
        losses = dict(zip(self._losses, values[len(self._lost) :], strict=True))
        first = next(i for i, group in enumerate(self._groups) if lost in group)
        moved = [name for group in self._groups[:first] for name in group]
        raise NonFiniteError(_message(lost, moved), losses, updates - int(good) - 1)

    def reset(self) -> None:
        """Clear the flag, when other weights are loaded."""
        self._updates = 0
        for x in (self.found, self._good, *self._lost.values()):
            x.zero_()


def _norms(gradients: Mapping[str, Sequence[Tensor]]) -> Tensor:
    """The norm of all gradients of each player."""
    return torch.stack([torch.nn.utils.get_total_norm(one) for one in gradients.values()])


def _message(lost: str, moved: Sequence[str]) -> str:
    kept = f"player {', '.join(moved)} has moved before it" if moved else "no weight was changed"
    return f"the gradient of player {lost} is not finite, {kept}"
