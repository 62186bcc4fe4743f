"""Ray Tune: trials of a sweep, each a Ray Train run with workers of its own, started, judged and stopped.

Tune decides who runs and who is stopped; what it knows is lost with its process, for its own way to go on is a pickle.
What lasts is the sweep's record, from which a new process tells the scheduler what the old one had heard.

Population based training is not offered. Tune carries it out by handing one trial's Tune checkpoint to another and
starting it again with other values; our trials give Tune no checkpoint, and a run refuses to go on with a config other
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
from types import SimpleNamespace
from typing import Any

# Ray's own files of each trial would repeat what runs leave; a record without the metric is news of progress.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # which has a banner even where it is to be silent

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from rich.console import Console

from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.cluster import cluster, in_thread, last_line, room_for, stop_signals
from cyclegan_dist.orchestration.training import fit
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.sweep.progress import SweepProgress
from cyclegan_dist.sweep.spec import value_of
from cyclegan_dist.sweep.state import Sweep
from cyclegan_dist.tracking.journal import JOURNAL, follow
from cyclegan_dist.training.observing import sending
from cyclegan_dist.training.run_folder import locked, read_config

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
        at_once, use_gpu = _at_once(sweep)
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what becomes of a trial is ours to say
        trials = _Trials(sweep, use_gpu, progress)
        with stop_signals(trials.stop) as stopped_by, trials:
            in_thread(lambda: _tune(sweep, trials, at_once))
    return stopped_by[0]


def _at_once(sweep: Sweep) -> tuple[int, bool]:
    """How many trials run at once, such that none waits for another's workers."""
    room, use_gpu = room_for(sweep.base)
    workers, wanted = sweep.spec.workers_per_trial, sweep.spec.max_concurrent
    kind = "GPUs" if use_gpu else "CPU cores"
    if workers * max(1, wanted) > room:
        raise UsageError(
            f"{max(1, wanted)} trials at once of {workers} workers each are more than the cluster's {room} {kind}: "
            "lower max_concurrent or workers_per_trial, or add nodes"
        )
    return wanted or room // workers, use_gpu


def _tune(sweep: Sweep, trials: "_Trials", at_once: int) -> None:
    storage = tempfile.mkdtemp(prefix="cyclegan_tune_")
    scheduler: TrialScheduler = FIFOScheduler()
    if sweep.spec.scheduler == "asha":
        scheduler = _Asha(trials)
    try:
        # Not `Tuner`, which writes its arguments as a pickle for a way to go on that is not ours.
        tune.run(
            tune.with_resources(_trial, DRIVER),
            name="sweep",
            storage_path=storage,
            search_alg=_Next(trials),
            scheduler=scheduler,
            num_samples=sweep.spec.trials,
            max_concurrent_trials=at_once,
            callbacks=[_News(trials)],
            max_failures=sweep.spec.max_failures,
            raise_on_failed_trial=False,
            trial_dirname_creator=lambda trial: trial.trial_id,
            verbose=0,
        )
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _trial(values: dict[str, Any]) -> None:
    """What Tune runs for each trial, in a process of its own: trains a run, and says what its journal says."""
    config, done = read_config(Path(values["run_dir"])), threading.Event()
    if RunFolder(config.run_dir).stop.exists():
        return
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(fit, config, config.world.num_workers, values["use_gpu"])
        training.add_done_callback(lambda _: done.set())
        for record, _ in follow(config.run_dir / JOURNAL, 0, done):
            if record["kind"] in ("metrics", "evaluation"):
                value = value_of(record["values"], values["metric"])
                told = {} if value is None else {"value": value}
                tune.report({"number": values["number"], "nimg": record["nimg"], "step": record["step"], **told})
    if RunFolder(config.run_dir).read_failure() is None:  # a failure that a restart cannot fix is not a crash
        training.result()


class _Trials:
    """The launcher's side of the trials that run. A context manager: leaving it waits until MLflow has them all."""

    def __init__(self, sweep: Sweep, use_gpu: bool, progress: SweepProgress):
        self.sweep, self.use_gpu, self.progress = sweep, use_gpu, progress
        self.stopping = False
        self._running: dict[int, contextlib.ExitStack] = {}
        self._senders = ThreadPoolExecutor(thread_name_prefix="sent")

    def stop(self) -> None:
        """Let every trial stop at its next step, and start no other."""
        self.stopping = True
        for number in list(self._running):
            self._stop_file(number).touch()

    def start_next(self) -> dict[str, Any] | None:
        """What Tune gives to the next trial, or None if there is no other."""
        if self.stopping or (found := self.sweep.next()) is None:
            return None
        trial, config = found
        stack = contextlib.ExitStack()
        stack.enter_context(locked(config))
        stack.enter_context(sending(config.run_dir, config.tracking, Console(stderr=True)))
        self._running[trial.number] = stack
        self.progress.started(trial)
        if self.stopping:  # it was asked for just now
            self._stop_file(trial.number).touch()
        spec = {"number": trial.number, "run_dir": str(config.run_dir), "metric": self.sweep.spec.metric}
        return {**spec, "use_gpu": self.use_gpu}

    def heard(self, number: int, told: dict[str, Any]) -> bool:
        """Note what a trial says of the metric, if it does. Returns False if there is nothing new."""
        return "value" in told and self.sweep.hear(number, told["nimg"], told["step"], told["value"])

    def cut(self, number: int) -> None:
        """Stop a trial that is behind: as any run is stopped, with a checkpoint, and free of its schedule."""
        self.sweep.record.write("cut", trial=number)
        self._stop_file(number).touch()

    def crashed(self, number: int, text: str) -> None:
        """Note that a trial crashed and is started again."""
        self.sweep.record.write("again", trial=number, text=text)
        self.progress.again(self.sweep.record.trials[number], text)

    def ended(self, number: int, crash: str = "") -> None:
        """Note how a trial ended."""
        self.sweep.settle(number, crash)
        self.progress.ended(self.sweep.record.trials[number])
        self._senders.submit(self._running.pop(number).close)  # in a thread: a slow server holds up no trial

    def _stop_file(self, number: int) -> Path:
        return RunFolder(self.sweep.folder / self.sweep.record.trials[number].name).stop

    def __enter__(self) -> "_Trials":
        return self

    def __exit__(self, *exception: object) -> None:
        for stack in self._running.values():
            self._senders.submit(stack.close)
        self._senders.shutdown()


class _Next(Searcher):
    """Hands the trials to Tune."""

    def __init__(self, trials: _Trials):
        super().__init__()
        self._trials = trials

    def suggest(self, trial_id: str) -> Any:
        return self._trials.start_next() or Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The record has it."""


class _Asha(ASHAScheduler):
    """ASHA that remembers trials by number, so that it can be told what an earlier process had heard, and that asks
    those it gives up to stop instead of killing them.
    """

    def __init__(self, trials: _Trials):
        spec = trials.sweep.spec
        super().__init__(
            time_attr="nimg",
            metric="value",
            mode=spec.mode,
            max_t=spec.max_images,
            grace_period=spec.grace_images,
            reduction_factor=spec.reduction_factor,
            stop_last_trials=False,  # they end by themselves
        )
        self._trials = trials
        for number in trials.sweep.record.trials:
            super().on_trial_add(None, _numbered(number))  # pyright: ignore[reportArgumentType]
        for number, result in trials.sweep.record.told:
            self._judge(number, result.nimg, result.value)

    def _judge(self, number: int, nimg: int, value: float) -> bool:
        """Whether a trial that says this is to be stopped."""
        told = {"nimg": nimg, "value": value}
        return super().on_trial_result(None, _numbered(number), told) == TrialScheduler.STOP  # pyright: ignore

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, _numbered(trial.config["number"]))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = trial.config["number"]
        if self._trials.heard(number, result) and self._judge(number, result["nimg"], result["value"]):
            self._trials.cut(number)
        return TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Its results are known already."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """So are those of one that has not begun."""


def _numbered(number: int) -> Any:
    return SimpleNamespace(trial_id=str(number))


class _News(tune.Callback):
    """What Tune says of the trials, to the record and to whoever watches."""

    def __init__(self, trials: _Trials):
        self._trials = trials

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self._trials.heard(trial.config["number"], result)  # where no scheduler has listened
        self._trials.progress.told(trial.config["number"], result["nimg"])

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._trials.ended(trial.config["number"])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._trials.ended(trial.config["number"], crash=_said(trial))

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._trials.crashed(trial.config["number"], _said(trial))


def _said(trial: Any) -> str:
    """The last line of the error that a trial ended with."""
    text = Path(trial.error_file).read_text() if trial.error_file else "no reason given"
    return last_line(RuntimeError(text)).removeprefix(f"{UsageError.__module__}.{UsageError.__name__}: ")
