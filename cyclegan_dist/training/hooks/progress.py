"""Progress of a run, and the hooks that are called with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Progress:
    """The state of a run after a step.

    Attributes:
        step: optimizer steps done.
        nimg: images per domain seen by all ranks together.
        batch_size: images per domain in the step just done.
        epoch_size: images per domain in an epoch.
        total: images after which the run ends.
        learning_rates: of each player in the step just done.
        losses: this rank's scalars of the step just done.
        step_s: seconds the step took, waiting for data included.
        wait_s: seconds of it spent waiting for data.
        bad_samples: damaged samples found so far, over all ranks.
        segment_nimg: images after which the newest segment of the run began.
    """

    step: int
    nimg: int
    batch_size: int
    epoch_size: int
    total: int
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    step_s: float = 0.0
    wait_s: float = 0.0
    bad_samples: int = 0
    segment_nimg: int = 0

    @property
    def epoch(self) -> int:
        """Complete epochs."""
        return self.nimg // self.epoch_size

    @property
    def schedule_epoch(self) -> int:
        """Complete epochs of the segment, by which its schedule goes."""
        return max(0, self.nimg - self.segment_nimg) // self.epoch_size

    @property
    def schedule_epochs(self) -> float:
        """Epochs of the segment, with the part of the current one that is done."""
        return max(0, self.nimg - self.segment_nimg) / self.epoch_size

    @property
    def finished(self) -> bool:
        return self.nimg >= self.total

    def due(self, every: int) -> bool:
        """Whether this step passed a multiple of `every` images; never for 0."""
        return bool(every) and self.nimg // every > (self.nimg - self.batch_size) // every


class Hook(Protocol):
    """Called on every rank after every step, and once at the end."""

    def __call__(self, at: Progress) -> None: ...

    def end(self, at: Progress) -> None:
        """Called when the run has finished or was stopped."""
        ...


@dataclass(frozen=True)
class Hooks:
    """The hooks to call after each step, group after group.

    Attributes:
        consistency: detect diverged ranks and damaged data, before anything is saved.
        saving: checkpoints, which come first, and snapshots.
        reporting: losses and sample images.
        waiting: evaluations, whose end may take as long as it needs, and exchanges nothing with other ranks.
        recorded: those of them that skip what is recorded. After a resume they are called for the checkpoint's step,
            whose records an attempt that was killed may not have made.
        beginning: those that are called before the first step of a run.
    """

    consistency: list[Hook]
    saving: list[Hook]
    reporting: list[Hook]
    waiting: list[Hook] = field(default_factory=list["Hook"])
    recorded: list[Hook] = field(default_factory=list["Hook"])
    beginning: list[Hook] = field(default_factory=list["Hook"])

    def __iter__(self) -> Iterator[Hook]:
        return iter((*self.consistency, *self.saving, *self.reporting, *self.waiting))
