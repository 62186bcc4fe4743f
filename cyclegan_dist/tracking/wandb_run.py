"""Sends a run's journal to Weights & Biases."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import wandb

from cyclegan_dist.storage.layout import Status
from cyclegan_dist.tracking.journal import images_of
from cyclegan_dist.tracking.sender_state import SenderState, key_of

WANDB = "wandb"  # names the state, and the folder of its files
X_AXIS = "images"
LOGIN_S = 30.0  # for the server to answer


class WandbRun:
    """The one run of a run folder there, across resumed trainings and restarted senders; `key_of` is its id.

    Each record is one row, and its number there counts the rows: the server leaves out rows that it has. The state is
    written at the end only: until then the library keeps rows in memory, which are lost if this process is killed. What
    a killed sender wrote offline is deleted, and its rows are sent again.
    """

    def __init__(self, run_dir: Path, project: str):
        entity, _, name = project.rpartition("/")
        key = key_of(run_dir)
        state = SenderState.read(run_dir, WANDB)
        self._run_dir, self._exit_code = run_dir, 0
        self._state = state if (state.key, state.store) == (key, project) else SenderState(project, key)
        self.offset, self._row = self._state.offset, self._state.position
        if (torn := self._state.run_id).startswith("offline-run-") and "/" not in torn:
            shutil.rmtree(run_dir / WANDB / torn, ignore_errors=True)
        settings = wandb.Settings(
            console="off", silent=True, disable_code=True, disable_git=True, x_disable_stats=True, init_timeout=LOGIN_S
        )
        self._run = wandb.init(
            project=name,
            entity=entity or None,
            id=key,
            name=run_dir.name,
            dir=str(run_dir),
            resume="allow",
            settings=settings,
        )
        if self._run.offline:
            self._save(run_id=Path(self._run.dir).parent.name)
        self._run.define_metric("*", step_metric=X_AXIS)

    def send(self, record: dict[str, Any], offset: int) -> None:
        kind = record["kind"]
        if kind in ("metrics", "evaluation"):
            self._log({X_AXIS: images_of(record), **record["values"]})
        elif kind == "image":
            path = self._run_dir / record["path"]
            try:
                self._log({X_AXIS: images_of(record), record["key"]: wandb.Image(str(path))})
            except (OSError, ValueError) as error:
                print(f"{path} is not sent to Weights & Biases: {error}", file=sys.stderr)
        elif kind == "run":
            self._exit_code = 0
            self._run.config.update(record["config"], allow_val_change=True)
        elif kind == "end":
            self._exit_code = int(record["status"] == Status.FAILED)
        self.offset = offset

    def flush(self) -> None:
        """Nothing: the library sends rows by itself."""

    def close(self) -> None:
        """Wait until all rows are sent, or written in offline mode, and write the state.

        Raises:
            OSError: if the state cannot be written.
        """
        self._run.finish(exit_code=self._exit_code)
        self._save(offset=self.offset, position=self._row, run_id="")

    def _save(self, **changed: Any) -> None:
        self._state = replace(self._state, **changed)
        self._state.save(self._run_dir, WANDB)

    def _log(self, values: dict[str, Any]) -> None:
        self._run.log(values, step=self._row, commit=True)
        self._row += 1


@contextmanager
def open_wandb_run(run_dir: Path, project: str) -> Iterator[WandbRun]:
    """The run there of a run folder whose journal has a record.

    Raises:
        wandb.Error: if the server does not answer, or nobody is logged in.
        OSError: if the state cannot be written.
    """
    run = WandbRun(run_dir, project)
    try:
        yield run
    finally:
        run.close()
