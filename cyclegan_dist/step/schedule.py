"""Learning rate schedules: the paper's (section 7.1), and the reference implementation's other three policies.

All policies except `plateau` are pure functions of the epoch, so that they need no state to resume. Does not import
torch at module level.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclegan_dist.errors import UsageError
from cyclegan_dist.networks.bounds import Ge, Gt


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How long to train and how the learning rate falls."""

    policy: Literal["linear", "step", "plateau", "cosine"] = "linear"
    """`linear`: constant, then to zero. `step`: times 0.1 every `step_epochs`. `plateau`: times 0.2 when the
    generators' loss has not fallen by 1 % for 5 epochs. `cosine`: half a cosine to zero over the whole run."""
    n_epochs: Annotated[int, Ge(0)] = 100
    """Epochs at the constant learning rate. An epoch is max(|A|, |B|) images per domain."""
    n_epochs_decay: Annotated[int, Ge(0)] = 100
    """Further epochs, over which `linear` falls to zero."""
    step_epochs: Annotated[int, Gt(0)] = 50
    """Epochs between two falls of `step`."""
    timing: Literal["end", "start", "image"] = "end"
    """When the rate changes. `end`: after an epoch, as in the published code before 2020. `start`: before it, as there
    since: everything falls one epoch earlier, and the last epoch of `linear` and `cosine` has rate 0. `plateau` follows
    the loss of past epochs, and is the same in both. `image`: in each update, by the images seen; `linear` and `cosine`
    only, which fall to zero at the end of the run."""

    def __post_init__(self) -> None:
        if self.timing == "image" and self.policy not in ("linear", "cosine"):
            raise UsageError(f"schedule.timing image: give schedule.policy linear or cosine, not {self.policy}")

    @property
    def total_epochs(self) -> int:
        return self.n_epochs + self.n_epochs_decay


def learning_rate_factor(config: ScheduleConfig, epochs: float) -> float:
    """Factor of the learning rate after so many epochs; 1 for `plateau`, whose factor depends on losses.

    `linear` is the reference implementation's 1 - max(0, epoch + 1 - n_epochs) / (n_epochs_decay + 1). Its cosine
    increases again after n_epochs; this one reaches zero at the end of the run. With `timing` start, an epoch has the
    factor that the next one would have. With `image` the current epoch counts as far as it is done, otherwise complete
    ones count.
    """
    if config.timing == "image":
        share = max(0.0, epochs - config.n_epochs) / max(1, config.n_epochs_decay)
        return max(0.0, 1.0 - share if config.policy == "linear" else _cosine(epochs, config))
    epoch = math.floor(epochs) + (config.timing == "start")
    if config.policy == "linear":
        return 1.0 - max(0, epoch + 1 - config.n_epochs) / (config.n_epochs_decay + 1)
    if config.policy == "step":
        return 0.1 ** (epoch // config.step_epochs)
    if config.policy == "cosine":
        return _cosine(epoch, config)
    return 1.0


def _cosine(epochs: float, config: ScheduleConfig) -> float:
    return 0.5 * (1 + math.cos(math.pi * epochs / max(1, config.total_epochs)))


class Schedule:
    """Factor of the learning rate by epoch, for all policies, including `plateau`, which has state."""

    def __init__(self, config: ScheduleConfig):
        self.config = config
        self._plateau = _plateau() if config.policy == "plateau" else None
        self._losses = (0.0, 0)  # sum and number in this epoch

    @property
    def watches_loss(self) -> bool:
        """Whether the policy needs `observe`."""
        return self._plateau is not None

    def factor(self, epochs: float) -> float:
        """The factor after so many epochs, whole ones and a part of the current one."""
        if self._plateau is not None:
            return float(self._plateau.optimizer.param_groups[0]["lr"])
        return learning_rate_factor(self.config, epochs)

    def observe(self, generator_loss: float, *, ends_epoch: bool) -> None:
        """Add one step's generator loss, averaged over all ranks. `plateau` uses the mean of the epoch."""
        total, count = self._losses[0] + generator_loss, self._losses[1] + 1
        self._losses = (total, count)
        if ends_epoch and self._plateau is not None:
            self._plateau.step(total / count)
            self._losses = (0.0, 0)

    def state_dict(self) -> dict[str, Any]:
        if self._plateau is None:
            return {}
        return {"plateau": self._plateau.state_dict(), "factor": self.factor(0), "losses": list(self._losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])
            self._plateau.optimizer.param_groups[0]["lr"] = state["factor"]
            total, count = state["losses"]
            self._losses = (total, count)


def _plateau() -> Any:
    """Torch's scheduler on an optimizer of a dummy parameter with rate 1, so that its rate is the factor."""
    import torch

    nothing = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    return torch.optim.lr_scheduler.ReduceLROnPlateau(nothing, factor=0.2, threshold=0.01, patience=5)
