"""Hooks that save checkpoints, to resume from, and snapshots, for users."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from cyclegan_dist.checkpoint.store import CheckpointStore
from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import save_snapshot
from cyclegan_dist.step.update import Step
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training.hooks.progress import Progress

State = Callable[[], tuple[dict[str, Any], dict[str, Any]]]
Seconds = Callable[[], dict[str, float]]


class SaveCheckpoint:
    """Every `every` images and at the end, save `state()` to the store. All ranks take part.

    With `best_loss`, the name of a loss, its mean since the last checkpoint is the score of the next. `seconds` are the
    measured times that belong to the state.
    """

    def __init__(self, every: int, store: CheckpointStore, state: State, best_loss: str, seconds: Seconds):
        self.every, self.store, self.state, self.best_loss = every, store, state, best_loss
        self.seconds = seconds
        self._sum: Tensor | float = 0.0
        self._steps = 0

    def __call__(self, at: Progress) -> None:
        if self.best_loss:
            self._sum, self._steps = self._sum + self._loss(at), self._steps + 1
        if at.due(self.every):
            self._save(at)
        self.store.wait(block=False)

    def end(self, at: Progress) -> None:
        self.store.wait()
        if not self.store.has(at.step):
            self._save(at)
            self.store.wait()

    def _save(self, at: Progress) -> None:
        score = None
        if self._steps:
            score = self.store.world.mean({"score": self._sum / self._steps})["score"]
            self._sum, self._steps = 0.0, 0
        shared, rank = self.state()
        self.store.save(at.step, shared, rank, nimg=at.nimg, score=score, seconds=self.seconds())

    def _loss(self, at: Progress) -> Tensor:
        if self.best_loss not in at.losses:
            raise UsageError(f"best_loss {self.best_loss}: this run computes {', '.join(at.losses)}; name one of them")
        return at.losses[self.best_loss]


class SaveSnapshot:
    """Every `every` images and at the end of the run, save the generators for users. On rank 0 only.

    A snapshot that exists and is not in the journal is of an attempt that was killed in between: it is recorded.
    """

    def __init__(self, every: int, run_dir: Path, step: Step, config: Config, facts: dict[str, Any], journal: Journal):
        self.every, self.run_dir, self.journal = every, run_dir, journal
        self.step, self.config, self.facts = step, config, facts

    def __call__(self, at: Progress) -> None:
        if at.due(self.every) and not at.finished:
            self._write(at)

    def end(self, at: Progress) -> None:
        self._write(at)

    def _write(self, at: Progress) -> None:
        folder = RunFolder(self.run_dir).snapshot(at.nimg)
        record = {"step": at.step, "path": str(folder.relative_to(self.run_dir)), "final": at.finished}
        if self.journal.has("snapshot", **record) or self.journal.has("snapshot", **{**record, "final": True}):
            return
        facts = {
            "run": self.config.name,
            "step": at.step,
            "nimg": at.nimg,
            "ema_half_life_images": self.config.optim.ema_half_life_images,
            **self.facts,
        }
        try:
            if not folder.exists():
                save_snapshot(folder, self.step.translators, self.config.method, facts)
        except OSError as error:
            self.journal.message(f"snapshot {folder.name} was not written: {error}")
            return
        self.journal.write("snapshot", **record)
