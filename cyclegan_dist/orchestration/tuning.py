"""Ray Tune: trials of a sweep, each a Ray Train run with workers of its own, started and stopped.

Tune runs them. Which trial is next and which one stops follows from the sweep's record; Tune's own state, a pickle, is
not resumed from.

Population based training is not offered. Tune carries it out by giving one trial's Tune checkpoint to another and
starting it again with other values; our trials give Tune no checkpoint, and a run is not resumed with a config other
than its own, since its schedule, data order and history buffers belong to that.
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

# Ray's own files of each trial would repeat what runs leave.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # which has a banner even where it is to be silent

from ray import tune
from ray.tune.search import Searcher
from rich.console import Console

from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.cluster import cluster, in_thread, last_line, room_for, stop_signals
from cyclegan_dist.orchestration.training import fit
from cyclegan_dist.sweep.progress import SweepProgress
from cyclegan_dist.sweep.spec import value_of
from cyclegan_dist.sweep.state import Sweep
from cyclegan_dist.tracking.journal import JOURNAL, follow
from cyclegan_dist.training.observing import sending
from cyclegan_dist.training.run_folder import FAILURE_NAME, locked, read_config
from cyclegan_dist.training.stop import FILE as STOP_FILE

# On the head node, which outlives the others and shares the launcher's folders; of that node's cores it takes none.
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
        callbacks=[trials],
        max_failures=spec.max_failures,
        raise_on_failed_trial=False,
        trial_dirname_creator=lambda trial: trial.trial_id,
        verbose=0,
    )


def _trial(values: dict[str, Any]) -> None:
    """What Tune runs for each trial, in a process of its own: a training, whose journal it reports."""
    config, done = read_config(Path(values["run_dir"])), threading.Event()
    if (config.run_dir / STOP_FILE).exists():
        return
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(fit, config, config.world.num_workers, values["use_gpu"])
        training.add_done_callback(lambda _: done.set())
        for record, _ in follow(config.run_dir / JOURNAL, 0, done):
            if record["kind"] in ("metrics", "evaluation"):
                tune.report({"nimg": record["nimg"], "value": value_of(record["values"], values["metric"])})
    if not (config.run_dir / FAILURE_NAME).exists():  # with a failure file, starting again would fail again
        training.result()


class Trials(tune.Callback):
    """The launcher's side of the trials that run: starts, records and stops them. A context manager: leaving it waits
    until MLflow has them all.
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
        if self.stopping:  # since the line above that asks
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
        """Record a crash, after which Tune gives the trial up."""
        self._end(trial.config["number"], _error(trial))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Record how the trial ended."""
        self._end(trial.config["number"])

    def _end(self, number: int, crash: str = "") -> None:
        self.sweep.finish(number, crash)
        self.progress.ended(self.sweep.record.trials[number])
        self._senders.submit(self._running.pop(number).close)  # in a thread: a slow server delays no trial

    def _stop_file(self, number: int) -> Path:
        return self.sweep.folder / self.sweep.record.trials[number].name / STOP_FILE


class _Next(Searcher):
    """Gives the trials to Tune."""

    def __init__(self, trials: Trials):
        super().__init__()
        self._trials = trials

    def suggest(self, trial_id: str) -> Any:
        return self._trials.start_next() or Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """`Trials` has recorded it."""


def _error(trial: Any) -> str:
    """The last line of the error that a trial ended with."""
    text = Path(trial.error_file).read_text() if trial.error_file else "no reason given"
    return last_line(RuntimeError(text)).removeprefix(f"{UsageError.__module__}.{UsageError.__name__}: ")
