"""Where a run stands, and the one rule that decides what is due."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Progress:
    """The moment after a step.

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
        bad_samples: damaged samples that are known so far, over all ranks.
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

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return self.nimg // self.epoch_size

    @property
    def finished(self) -> bool:
        return self.nimg >= self.total

    def due(self, every: int) -> bool:
        """Whether a multiple of `every` images was passed in this step; never for 0."""
        return bool(every) and self.nimg // every > (self.nimg - self.batch_size) // every


class Hook(Protocol):
    """Called on every rank after every step, and once at the end."""

    def __call__(self, at: Progress) -> None: ...

    def end(self, at: Progress) -> None:
        """The run has finished or was stopped."""
        ...


@dataclass(frozen=True)
class Hooks:
    """What follows each step, group after group.

    Attributes:
        consistency: find ranks that differ and data that is damaged, before anything is saved.
        saving: checkpoints and snapshots.
        reporting: losses, pictures, evaluations; they may take longer.
    """

    consistency: list[Hook]
    saving: list[Hook]
    reporting: list[Hook]

    def __iter__(self) -> Iterator[Hook]:
        return iter((*self.consistency, *self.saving, *self.reporting))
