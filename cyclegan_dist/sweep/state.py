"""A sweep that is under way: which trial is next, what was heard of each, and how it ended."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from cyclegan_dist.config.config import Config, dump_config, home, load_config, refuse_changes, with_values
from cyclegan_dist.config.yaml_tree import read_tree
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.storage.layout import RunFolder, Status
from cyclegan_dist.sweep.record import Record, Trial
from cyclegan_dist.sweep.sampling import draw
from cyclegan_dist.sweep.spec import SweepConfig
from cyclegan_dist.tracking.journal import JOURNAL, read_records
from cyclegan_dist.training.run_folder import locked, open_run, read_config

SPEC_NAME = "sweep.yaml"
SAFE_TO_CHANGE = ("num_trials", "max_concurrent", "max_failures")  # none of it changes what a trial is


@dataclass(frozen=True)
class Sweep:
    """An opened sweep.

    Attributes:
        spec: what to do.
        base: the config that trials share.
        folder: where it is kept, the trials' runs among it.
        record: what has happened.
        waiting: trials that an earlier process left open, the first one last.
    """

    spec: SweepConfig
    base: Config
    folder: Path
    record: Record
    waiting: list[int]

    def next(self) -> tuple[Trial, Config] | None:
        """The next trial and its opened run, or None if there is none left. A trial whose values do not fit together
        is passed over.

        Raises:
            UsageError: if the data set cannot be read, or the run's folder not be written.
        """
        while (trial := self._next_trial()) is not None:
            try:
                config = self.config(trial)
            except UsageError as error:
                self.record.write("end", trial=trial.number, status="failed", text=str(error))
            else:
                return trial, open_run(config)
        return None

    @property
    def has_more(self) -> bool:
        """Whether a trial is left to run."""
        return bool(self.waiting) or len(self.record.trials) < self.spec.trials

    def _next_trial(self) -> Trial | None:
        if self.waiting:
            return self.record.trials[self.waiting.pop()]
        number = len(self.record.trials)
        if number >= self.spec.trials:
            return None
        values = draw(self.spec, number, list(self.record.trials.values()))
        self.record.write("trial", trial=number, values=values)
        return self.record.trials[number]

    def config(self, trial: Trial) -> Config:
        """The config of a trial's run."""
        config = self.spec.config(trial.values, trial.name)
        return dataclasses.replace(
            config,
            name=trial.name,
            runs_dir=str(self.folder),
            stop_after=self.spec.max_images or config.stop_after,
            checkpoints=f"{config.checkpoints}/{self.spec.name}" if config.checkpoints else "",
            # A crash is the sweep's to count, and a trial is started again from its checkpoint as a whole.
            world=dataclasses.replace(config.world, num_workers=self.spec.workers_per_trial, max_failures=0),
            tracking=dataclasses.replace(config.tracking, parent=self.record.key),
        )

    def hear(self, number: int, nimg: int, step: int, value: float) -> bool:
        """Note what a trial says of the metric. Returns False if it said so before: a resumed one tells its journal
        from the start.
        """
        trial = self.record.trials[number]
        if nimg <= trial.nimg or trial.is_cut or not math.isfinite(value):
            return False
        self.record.write("result", trial=number, nimg=nimg, step=step, value=value)
        return True

    def settle(self, number: int, crash: str = "") -> None:
        """Note how a trial's run ended, unless it was interrupted."""
        status, text = ("crashed", crash) if crash else _outcome(self.folder / self.record.trials[number].name)
        if not status and self.record.trials[number].is_cut:
            status = "cut"
        if status:
            self.record.write("end", trial=number, status=status, text=text)


def _outcome(run_dir: Path) -> tuple[str, str]:
    """How a run ended, or empty if it was stopped."""
    failure = RunFolder(run_dir).read_failure()
    if failure is not None:
        return ("diverged" if failure.error == "NonFiniteError" else "failed"), failure.message
    if not (run_dir / JOURNAL).exists():
        return "", ""
    last = [record for record, _ in read_records(run_dir / JOURNAL, 0) if record["kind"] == "end"][-1:]
    return ("finished" if last and last[0]["status"] == Status.FINISHED else ""), ""


@contextlib.contextmanager
def open_sweep(spec: SweepConfig) -> Iterator[Sweep]:
    """Begin a sweep, or go on with it, as this machine's only process that does.

    Raises:
        UsageError: if the folder cannot be written or belongs to another sweep, or another process is at work on it.
    """
    base = with_values(load_config(spec.base), spec.overrides, spec.name)
    base = dataclasses.replace(base, name=spec.name, runs_dir=str(home() / base.runs_dir))
    folder = base.run_dir
    with locked(base):
        _refuse_other(spec, base, folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / SPEC_NAME, yaml.safe_dump(_plain(spec), sort_keys=False))
            write_atomic(RunFolder(folder).config, dump_config(base))
        except OSError as error:
            raise UsageError(f"cannot write {folder}: {error.strerror}; choose another runs_dir") from error
        with Record(folder) as record:
            for trial in [t for t in record.trials.values() if t.status == "open" and t.is_cut]:
                record.write("end", trial=trial.number, status="cut", text="")  # it was stopping when we died
            left = [trial.number for trial in record.trials.values() if trial.status == "open"]
            sweep = Sweep(spec, base, folder, record, left[::-1])
            first = sweep.next()  # what the data set or the folder forbids is told before Ray takes its time
            if first is not None:
                sweep.waiting.append(first[0].number)
            yield sweep


def _refuse_other(spec: SweepConfig, base: Config, folder: Path) -> None:
    if not (folder / SPEC_NAME).exists():
        return
    before = read_tree((folder / SPEC_NAME).read_text(), str(folder / SPEC_NAME))
    now = _plain(spec)
    changed = [key for key in now if key not in SAFE_TO_CHANGE and now[key] != before.get(key)]
    if changed:
        raise UsageError(
            f"{folder} holds a sweep of another {', '.join(changed)}: give --name another name, or undo the change"
        )
    refuse_changes(read_config(folder), base)


def _plain(spec: SweepConfig) -> dict[str, object]:
    """The spec as YAML has it, itself a sweep file."""
    tree = dataclasses.asdict(spec)
    space = {key: {kind: list(v) for kind, v in values.items() if v} for key, values in tree["space"].items()}
    return {**tree, "space": space}
