"""Ray Tune: the trials of a sweep, each a Ray Train run with its own workers, started and stopped.

Tune only runs them: the sweep's record decides which trial is next and which one stops. Tune's own state, a pickle, is
not used to resume.

Population based training is not supported. Tune implements it by restarting a trial with another trial's checkpoint
and other values; our trials give Tune no checkpoint, and a run cannot be resumed with another config, because its
schedule, data order and history buffers depend on it.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# Ray's own log files of each trial would duplicate the journals of the runs.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # it prints a banner even when silenced

from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.search import Searcher
from rich.console import Console

from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.cluster import cluster, in_thread, last_line, room_for, stop_signals
from cyclegan_dist.orchestration.ranks import fit
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.sweep.progress import SweepProgress
from cyclegan_dist.sweep.spec import value_of
from cyclegan_dist.sweep.state import REPORTED, Sweep
from cyclegan_dist.tracking.journal import JOURNAL, follow
from cyclegan_dist.training.observing import sending
from cyclegan_dist.training.run_folder import locked, read_config

# Trials' own processes run on the head node, which outlives the others and shares the launcher's folders. They use no
# core.
DRIVER = {"node:__internal_head__": 0.001}


def sweep_on_ray(sweep: Sweep, progress: SweepProgress) -> int:
    """Run what is left of a sweep on the cluster of RAY_ADDRESS, or on one of this machine's own.

    Returns:
        The signal that stopped it, or 0.

    Raises:
        UsageError: if the cluster cannot hold a trial.
    """
    with cluster():
        at_once, use_gpu = trials_at_once(sweep)
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # how a trial ended is reported by `progress`
        trials = Trials(sweep, use_gpu, progress)
        storage = tempfile.mkdtemp(prefix="cyclegan_tune_")
        with stop_signals(trials.stop) as stopped_by, trials:
            try:
                in_thread(lambda: _tune(trials, at_once, storage))
            finally:
                shutil.rmtree(storage, ignore_errors=True)
    return stopped_by[0]


def trials_at_once(sweep: Sweep) -> tuple[int, bool]:
    """How many trials run at once, such that none waits for another's workers, and whether on GPUs."""
    room, use_gpu = room_for(sweep.base)
    workers, wanted = sweep.spec.workers_per_trial, sweep.spec.max_concurrent
    kind = "GPUs" if use_gpu else "CPU cores"
    if workers * max(1, wanted) > room:
        raise UsageError(
            f"{max(1, wanted)} trials at once of {workers} workers each are more than the cluster's {room} {kind}: "
            "lower max_concurrent or workers_per_trial, or add nodes"
        )
    return wanted or room // workers, use_gpu


def _tune(trials: "Trials", at_once: int, storage: str) -> None:
    spec = trials.sweep.spec
    # Not `Tuner`, which writes its arguments as a pickle, to resume from.
    tune.run(
        tune.with_resources(_trial, DRIVER),
        name="sweep",
        storage_path=storage,
        search_alg=_Next(trials),
        num_samples=spec.trials,
        max_concurrent_trials=at_once,
        callbacks=[trials, _NoLines()],
        max_failures=spec.max_failures,
        raise_on_failed_trial=False,
        trial_dirname_creator=lambda trial: trial.trial_id,
        verbose=0,
    )


def _trial(values: dict[str, Any]) -> None:
    """A trial, which Tune runs in a separate process: a training whose journal it reports."""
    config, done = read_config(Path(values["run_dir"])), threading.Event()
    if RunFolder(config.run_dir).stop.exists():
        return
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(fit, config, config.world.num_workers, values["use_gpu"])
        training.add_done_callback(lambda _: done.set())
        for record, _ in follow(config.run_dir / JOURNAL, 0, done):
            if record["kind"] in REPORTED:
                tune.report({"nimg": record["nimg"], "value": value_of(record["values"], values["metric"])})
    if RunFolder(config.run_dir).read_failure() is None:  # a restart cannot fix a recorded failure
        training.result()


class _NoLines(TrialProgressCallback):
    """Instead of Ray's own, which prints a line for a trial that ends before its first result."""

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Print nothing."""


class Trials(tune.Callback):
    """The running trials in the launcher: starts, records and stops them. A context manager, which waits at its end
    until all are sent to MLflow.
    """

    def __init__(self, sweep: Sweep, use_gpu: bool, progress: SweepProgress):
        self.sweep, self.use_gpu, self.progress = sweep, use_gpu, progress
        self.stopping = False
        self._running: dict[int, contextlib.ExitStack] = {}
        self._senders = ThreadPoolExecutor(thread_name_prefix="sender")

    def __enter__(self) -> "Trials":
        return self

    def __exit__(self, *exception: object) -> None:
        for stack in self._running.values():
            self._senders.submit(stack.close)
        self._senders.shutdown()

    def stop(self) -> None:
        """Stop every trial at its next step, and start no other."""
        self.stopping = True
        for number in list(self._running):
            self._stop_file(number).touch()

    def start_next(self) -> dict[str, Any] | None:
        """Tune's config of the next trial, or None if there is no other."""
        if self.stopping or (found := self.sweep.next()) is None:
            return None
        trial, config = found
        stack = contextlib.ExitStack()
        stack.enter_context(locked(config))
        stack.enter_context(sending(config.run_dir, config.tracking, Console(stderr=True)))
        self._running[trial.number] = stack
        self.progress.started(trial)
        if self.stopping:  # a stop may have been requested since the check above
            self._stop_file(trial.number).touch()
        spec = {"number": trial.number, "run_dir": str(config.run_dir), "metric": self.sweep.spec.metric}
        return {**spec, "use_gpu": self.use_gpu}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Record the value, and stop a trial that is behind: as any run is stopped, with a checkpoint."""
        number, nimg, value = trial.config["number"], result["nimg"], result["value"]
        if value is not None and self.sweep.report(number, nimg, value):
            self._stop_file(number).touch()
        self.progress.reported(self.sweep.record.trials[number], nimg)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record a crash, after which Tune starts the trial again."""
        number, record = trial.config["number"], self.sweep.record
        record.note(number, crashes=record.trials[number].crashes + 1)
        self.progress.crashed(record.trials[number], _error(trial))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record a crash, after which Tune does not restart the trial."""
        self._end(trial.config["number"], _error(trial))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record how the trial ended."""
        self._end(trial.config["number"])

    def _end(self, number: int, crash: str = "") -> None:
        self.sweep.finish(number, crash)
        self.progress.ended(self.sweep.record.trials[number])
        self._senders.submit(self._running.pop(number).close)  # in a thread: a slow server delays no trial

    def _stop_file(self, number: int) -> Path:
        return RunFolder(self.sweep.folder / self.sweep.record.trials[number].name).stop


class _Next(Searcher):
    """Gives the trials to Tune."""

    def __init__(self, trials: Trials):
        super().__init__()
        self._trials = trials

    def suggest(self, trial_id: str) -> Any:
        return self._trials.start_next() or Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to do: `Trials` records it."""


def _error(trial: Any) -> str:
    """The last line of the error that a trial ended with."""
    text = Path(trial.error_file).read_text() if trial.error_file else "no reason given"
    return last_line(RuntimeError(text)).removeprefix(f"{UsageError.__module__}.{UsageError.__name__}: ")
