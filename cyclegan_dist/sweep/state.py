"""A sweep in progress: which trial is next, which one must stop, and how each ended."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cyclegan_dist.config.begun import as_begun
from cyclegan_dist.config.changes import refuse_changes
from cyclegan_dist.config.config import Config, dump_config, home, load_config, with_values
from cyclegan_dist.config.yaml_tree import read_tree
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.storage.layout import RunFolder, Status
from cyclegan_dist.sweep.config import SweepConfig
from cyclegan_dist.sweep.old_record import convert
from cyclegan_dist.sweep.record import Record, Trial
from cyclegan_dist.sweep.sampling import draw
from cyclegan_dist.sweep.spec import value_of
from cyclegan_dist.tracking.journal import read_records
from cyclegan_dist.training.run_folder import locked, open_run, read_config

SPEC_NAME = "sweep.yaml"
REPORTED = ("metrics", "evaluation")  # kinds of records that may have the metric
SAFE_TO_CHANGE = ("num_trials", "max_concurrent", "max_failures")  # none of these changes a trial


@dataclass(frozen=True)
class Sweep:
    """An opened sweep.

    Attributes:
        spec: its configuration.
        base: the config that trials share.
        folder: of its files and the trials' runs.
        record: its trials.
        interrupted: numbers of trials that an earlier process left open, the first one last.
    """

    spec: SweepConfig
    base: Config
    folder: Path
    record: Record
    interrupted: list[int]

    def next(self) -> tuple[Trial, Config] | None:
        """The next trial and its opened run, or None if there is none left. A trial whose values do not fit together
        is skipped.

        Raises:
            UsageError: if the data set cannot be read, or the run's folder not be written.
        """
        while self.has_more:
            if self.interrupted:
                trial = self.record.trials[self.interrupted.pop()]
            else:
                before = self.record.study.get_trials(deepcopy=False)
                trial = self.record.add(draw(self.spec, len(before), before))
            try:
                config = self.config(trial)
            except UsageError as error:
                self.record.end(trial.number, "failed", str(error))
            else:
                return trial, open_run(config)
        return None

    @property
    def has_more(self) -> bool:
        """Whether a trial is left to run."""
        return bool(self.interrupted) or len(self.record.trials) < self.spec.trials

    def config(self, trial: Trial) -> Config:
        """The config of a trial's run."""
        drawn = {part.strip() for keys in trial.values for part in keys.split(",")}
        config = as_begun(self.spec.config(trial.values, trial.name), self.base, given=drawn)
        return dataclasses.replace(
            config,
            name=trial.name,
            runs_dir=str(self.folder),
            stop_after=self.spec.max_images or config.stop_after,
            checkpoints=f"{config.checkpoints}/{self.spec.name}" if config.checkpoints else "",
            # The sweep counts crashes, and restarts a trial as a whole from its checkpoint.
            world=dataclasses.replace(config.world, num_workers=self.spec.workers_per_trial, max_failures=0),
            tracking=dataclasses.replace(config.tracking, parent=self.record.key),
        )

    def report(self, number: int, nimg: int, value: float) -> bool:
        """Record a trial's value of the metric after `nimg` images. Returns whether ASHA stops the trial because of
        it.
        """
        stops = self.record.report(number, nimg, value) and self.record.is_behind(number)
        if stops:
            self.record.note(number, is_cut=True)
        return stops

    def finish(self, number: int, crash: str = "") -> None:
        """Record how a trial's run ended, from what it left in its folder. One that was interrupted stays open.

        Its journal decides which values it has reported: Tune may end a trial before it delivers the last of them.
        """
        run = RunFolder(self.folder / self.record.trials[number].name)
        for record, _ in read_records(run.journal, 0) if run.journal.exists() else ():
            if record["kind"] in REPORTED and (value := value_of(record["values"], self.spec.metric)) is not None:
                self.report(number, record["nimg"], value)
        trial = self.record.trials[number]
        failure = run.read_failure()
        if crash:
            self.record.end(number, "crashed", crash)
        elif failure is not None:
            self.record.end(number, "diverged" if failure.error == "NonFiniteError" else "failed", failure.message)
        elif trial.is_cut:  # even if its training ended before the stop reached it: its later values were not recorded
            self.record.end(number, "cut")
        elif _last_status(run) == Status.FINISHED:
            self.record.end(number, "finished")


def _last_status(run: RunFolder) -> str:
    records = read_records(run.journal, 0) if run.journal.exists() else ()
    return ([record["status"] for record, _ in records if record["kind"] == "end"] or [""])[-1]


def _compared(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A sweep without the options of evaluations beside its trials, if it does not compare these by them."""
    overrides = spec.get("overrides")
    if spec.get("metric") or not isinstance(overrides, dict):
        return dict(spec)
    return {**spec, "overrides": {key: v for key, v in overrides.items() if not key.startswith("held_out.")}}


@contextlib.contextmanager
def open_sweep(spec: SweepConfig) -> Iterator[Sweep]:
    """Start or resume a sweep, holding its lock on this machine.

    Raises:
        UsageError: if the folder cannot be written or belongs to another sweep, or another process holds the lock.
    """
    base = with_values(load_config(spec.base), spec.overrides, spec.name)
    base = dataclasses.replace(base, name=spec.name, runs_dir=str(home() / base.runs_dir))
    folder = base.run_dir
    is_new = not folder.exists()
    # As plain YAML values, so that the file is itself a sweep.
    plain = dataclasses.asdict(spec)
    plain["space"] = {key: {kind: list(v) for kind, v in one.items() if v} for key, one in plain["space"].items()}
    with locked(base):
        if (folder / SPEC_NAME).exists():
            before = read_tree((folder / SPEC_NAME).read_bytes(), str(folder / SPEC_NAME))
            before = {"variants": {}, **before}  # sweeps of older versions have none
            old, new = _compared(before), _compared(plain)
            changed = [key for key in new if key not in SAFE_TO_CHANGE and new[key] != old.get(key)]
            if changed:
                raise UsageError(
                    f"{folder} holds a sweep of another {', '.join(changed)}: choose another --name, or undo the change"
                )
            kept = read_config(folder)
            base = as_begun(base, kept)
            refuse_changes(kept, base)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(RunFolder(folder).config, dump_config(base))
            write_atomic(folder / SPEC_NAME, yaml.safe_dump(plain, sort_keys=False))
        except OSError as error:
            raise UsageError(f"cannot write {folder}: {error.strerror}; choose another runs_dir") from error
        convert(RunFolder(folder).sweep_journal, spec)
        record = Record(RunFolder(folder).sweep_journal, spec)
        interrupted = [trial.number for trial in record.trials.values() if trial.status == "open"]
        sweep = Sweep(spec, base, folder, record, interrupted[::-1])
        try:
            first = sweep.next()  # reports errors of the data set or the folder before Ray's slow start
        except UsageError:
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)  # of which the corrected command would be another sweep
            raise
        if first is not None:
            sweep.interrupted.append(first[0].number)
        yield sweep
