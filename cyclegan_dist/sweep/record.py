"""`sweep.jsonl`: a sweep's Optuna study in an append-only journal, and its trials as the rest of the library sees them.

It is the only state of a sweep: samplers and ASHA are rebuilt from it, in every process and for every trial.
"""

import json
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import NopPruner, SuccessiveHalvingPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from cyclegan_dist.errors import UsageError
from cyclegan_dist.sweep.config import SweepConfig, Values

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Trial:
    """A trial.

    Attributes:
        number: from 0, in the order of drawing.
        values: by the keys of the space.
        results: values of the metric, by the number of images after which they were reported.
        is_cut: ASHA has stopped it.
        crashes: times that it was restarted.
        status: open until it has ended: then finished, cut, diverged, failed or crashed.
        text: the reason, if it did not end well.
    """

    number: int
    values: dict[str, Any]
    results: dict[int, float] = field(default_factory=dict)
    is_cut: bool = False
    crashes: int = 0
    status: str = "open"
    text: str = ""

    @property
    def name(self) -> str:
        """Name of its run."""
        return f"trial-{self.number:04d}"

    @property
    def nimg(self) -> int:
        """Images after which the last value was reported."""
        return max(self.results, default=0)

    @property
    def value(self) -> float | None:
        """The last reported value of the metric."""
        return self.results.get(self.nimg)


class Record:
    """A sweep's study. Its caller holds the sweep's lock. `trials` are by number; `key` names the sweep in MLflow."""

    def __init__(self, path: Path, spec: SweepConfig, key: str = ""):
        self.spec = spec
        if path.exists():  # a dying process may leave a partial line, to which Optuna would append
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        Path(f"{path}.lock").unlink(missing_ok=True)  # of a dead process; Optuna would wait for it half a minute
        try:
            # Optuna's other lock is a symbolic link, which not every shared file system has.
            self._storage = JournalStorage(_JournalFile(str(path), JournalFileOpenLock(str(path))))
        except (ValueError, KeyError) as error:
            raise UsageError(f"{path} is damaged: {error}; restore it, or choose another --name") from error
        self.key = next(iter(optuna.get_all_study_names(self._storage)), key or f"sweep-{secrets.token_hex(12)}")
        asha = SuccessiveHalvingPruner(max(1, spec.grace_images), spec.reduction_factor)
        self.study = optuna.create_study(
            study_name=self.key,
            storage=self._storage,
            load_if_exists=True,
            direction=direction(spec),
            pruner=asha if spec.scheduler == "asha" else NopPruner(),
        )
        self.trials = {trial.number: _trial(trial) for trial in self.study.get_trials(deepcopy=False)}
        for trial in self.trials.values():  # a process may have died before it wrote all of an end
            if trial.is_cut or trial.status != "open":
                self.end(trial.number, "cut" if trial.status == "open" else trial.status, trial.text)

    def add(self, values: Mapping[str, Any]) -> Trial:
        """Add a trial, in one line, so that no process can leave a partial one."""
        params = {key: json.dumps(v) if self.spec.space[key].listed else v for key, v in values.items()}
        distributions = {key: distribution(v) for key, v in self.spec.space.items()}
        self.study.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=distributions))
        return self._read(len(self.trials))

    def report(self, number: int, nimg: int, value: float) -> bool:
        """Record a value of the metric. Returns False if it is already recorded, because a resumed trial reads its
        journal again, or ignored, because the trial was cut.
        """
        trial = self.trials[number]
        if nimg <= trial.nimg or trial.is_cut or not math.isfinite(value):
            return False
        self._storage.set_trial_intermediate_value(self._id(number), nimg, value)
        self._read(number)
        return True

    def is_behind(self, number: int) -> bool:
        """Whether ASHA stops a trial for the value that it has just reported. The study records the rungs it passes."""
        if self.trials[number].nimg >= (self.spec.max_images or math.inf):  # it ends anyway
            return False
        return self.study.pruner.prune(self.study, self._storage.get_trial(self._id(number)))

    def note(self, number: int, **fields: Any) -> None:
        """Set fields of a trial that has not ended."""
        for name, value in fields.items():
            self._storage.set_trial_user_attr(self._id(number), name, value)
        self._read(number)

    def end(self, number: int, status: str, text: str = "") -> None:
        """Record how a trial ended. To Optuna one that did not finish is pruned: worse than any that did."""
        if self._storage.get_trial(self._id(number)).state.is_finished():
            return
        self.note(number, text=text, status=status)
        value = self.trials[number].value
        if status == "finished" and value is not None:
            self._storage.set_trial_state_values(self._id(number), TrialState.COMPLETE, [value])
        else:
            self._storage.set_trial_state_values(self._id(number), TrialState.PRUNED)

    def _read(self, number: int) -> Trial:
        self.trials[number] = _trial(self._storage.get_trial(self._id(number)))
        return self.trials[number]

    def _id(self, number: int) -> int:
        study = self._storage.get_study_id_from_name(self.key)
        return self._storage.get_trial_id_from_study_id_trial_number(study, number)


class _JournalFile(JournalFileBackend):
    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        try:
            super().append_logs(logs)
        except OSError as error:
            raise UsageError(
                f"the sweep's record cannot be written: {error}; free some space, then run the same command again"
            ) from error


def _trial(trial: FrozenTrial) -> Trial:
    values = {key: json.loads(v) if isinstance(v, str) else v for key, v in trial.params.items()}
    return Trial(trial.number, values, trial.intermediate_values, **trial.user_attrs)


def direction(spec: SweepConfig) -> Literal["minimize", "maximize"]:
    """Optuna's name for the sweep's mode."""
    return "minimize" if spec.mode == "min" else "maximize"


def distribution(values: Values) -> BaseDistribution:
    """Optuna's counterpart. Listed values are stored as JSON, because Optuna does not accept lists."""
    if values.listed:
        return CategoricalDistribution([json.dumps(value) for value in values.listed])
    if values.randint:
        return IntDistribution(*values.randint)
    low, high = values.bounds or (0.0, 1.0)
    return FloatDistribution(low, high, log=bool(values.loguniform))
