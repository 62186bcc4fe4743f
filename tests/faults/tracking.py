"""Group E: MLflow is away, slow or rude, senders die, names are bad. A real `mlflow server`, real trainings."""

import json
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from cyclegan_dist.config.config import check_config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.layout import RunFolder
from tests.faults.matrix import Measured, Stage, row
from tests.faults.mlflow_server import server_and_tap
from tests.faults.tracked import Arrival, Training, arrival, runs_of


def sync(training: Training) -> "subprocess.CompletedProcess[str]":
    """The command that the run named, as typed: nothing but the run's own folder says where MLflow is."""
    command = [sys.executable, "-m", "pipelines.sync", str(training.run_dir)]
    return subprocess.run(command, capture_output=True, text=True, env=training.environment(), timeout=300)


@row(
    "E1",
    "MLflow is down at the start",
    "training starts as fast, ends with 0, and names the command",
    slow=True,
    nightly=True,
)
def down_at_start(stage: Stage) -> Measured:
    server, tap = server_and_tap()
    tap.turn("closed")
    pairs = [
        [
            _finished(Training(stage, tap.uri, f"e1-{number}-{mlflow}", mlflow=mlflow, epochs=8))
            for mlflow in (False, True)
        ]
        for number in range(stage.times(1, 7))
    ]
    without, with_it = (statistics.median(t.first_step_s for t in trainings) for trainings in zip(*pairs, strict=True))
    codes = {training.code for pair in pairs for training in pair}
    last = pairs[-1][1]
    tap.turn("pass")
    sent = sync(last)
    there = arrival(server, last.run_dir)
    figure = (
        f"first step {with_it:.2f} s after the start, {with_it - without:+.2f} s to without ({len(pairs)} pairs of runs); "
        f"exit codes {sorted(codes)}; end waits {last.end_s:.1f} s; after the command that it names: {there} {sent.stderr}"
    ).strip()
    passed = codes == {0} and last.names_sync and sent.returncode == 0 and there.exact
    return Measured(figure, passed and with_it - without < stage.times(5, 1))


def _finished(training: Training) -> Training:
    training.wait()
    return training


@row("E2", "MLflow goes down in the middle, for a while or for ever", "no step is slower, no point is lost", slow=True)
def down_in_the_middle(stage: Stage) -> Measured:
    server, tap = server_and_tap()
    tap.turn("pass")
    training = Training(stage, tap.uri, "e2", epochs=10000)
    training.until(lambda: training.sent > 5000)
    tap.turn("closed")
    before, away = training.sender_mb(), stage.times(3, 60)
    time.sleep(away)
    tap.turn("pass")
    if stage.thorough:  # it catches up while the training goes on
        training.until(lambda: training.unsent < 50000)
    memory = training.sender_mb()
    code = training.stop()
    there = arrival(server, training.run_dir)
    figure = (
        f"away for {away} s: exit code {code}, {there}; the sender held {before:.0f} MB before and {memory:.0f} MB after "
        "it: there is no queue, it reads on where it was"
    )
    passed = code == 143 and there.exact and memory < before + 50
    if stage.thorough:
        cost = slowdown(stage, "closed")
        figure, passed = f"{figure}; away for ever: {cost}", passed and cost.unharmed
    return Measured(figure, passed)


@row("E3", "MLflow goes down at the end", "exit code 0, everything kept, the command is named", slow=True)
def down_at_the_end(stage: Stage) -> Measured:
    server, tap = server_and_tap()
    tap.turn("pass")
    training = Training(stage, tap.uri, "e3", epochs=stage.times(20, 60))
    training.until(lambda: training.sent > 5000)
    tap.turn("closed")
    code = training.wait()
    kept = list((training.run_dir / "snapshots").glob("*/G_*.safetensors"))
    figure = f"exit code {code}, {len(kept)} generators kept, the end waits {training.end_s:.1f} s"
    passed = code == 0 and len(kept) == 2 and training.names_sync
    if stage.thorough:
        tap.turn("pass")
        sync(training)
        there = arrival(server, training.run_dir)
        figure, passed = f"{figure}; sent later: {there}", passed and there.exact
    return Measured(figure, passed)


@row("E4", "MLflow is slow, answers 429 or 500, or nothing at all", "as E2", slow=True, nightly=True)
def slow_or_rude(stage: Stage) -> Measured:
    server, tap = server_and_tap()
    slow, each = f"slow {stage.times(1, 5)}", stage.times(2, 30)
    modes = [slow, "status 429", "status 500", "hang", "forget /"]
    tap.turn("pass")
    training = Training(stage, tap.uri, "e4", epochs=10000, timeout_s=stage.times(1, 10))
    training.until(lambda: training.sent > 5000)
    for mode in modes:
        tap.turn(mode)
        time.sleep(each)
    tap.turn("pass")
    code = training.stop()
    there = arrival(server, training.run_dir)
    figures, passed = [f"{', '.join(modes)}, {each} s each: exit code {code}, {there}"], code == 143 and there.exact
    for mode in (slow, "status 500", "hang") if stage.thorough else ():
        cost = slowdown(stage, mode)
        tap.turn(mode)
        training = Training(stage, tap.uri, f"e4-{mode.replace(' ', '-')}", epochs=20)
        code = training.wait()
        figures.append(f"{mode}: {cost}; exit code {code}, the end waits {training.end_s:.0f} s")
        passed = passed and code == 0 and cost.unharmed and training.names_sync
    tap.turn("pass")
    return Measured("; ".join(figures), passed)


@row(
    "E5",
    "A run is killed and resumed, its senders die",
    "one MLflow run, every point, parameter and model once",
    slow=True,
    nightly=True,
)
def logged_again(stage: Stage) -> Measured:
    runs = stage.times(1, 5)
    found = [_killed_and_resumed(stage, f"e5-{number}") for number in range(runs)]
    lost, doubled = sum(there.missing for there in found), sum(there.doubled for there in found)
    figure = (
        f"{runs} x (killed twice, sender killed twice, first answer lost, place forgotten): points lost {lost}, doubled "
        f"{doubled}, MLflow runs {[there.runs for there in found]}, models {[there.models for there in found]}, images "
        f"lost or doubled {sum(there.images_wrong for there in found)}, parameters wrong "
        f"{sum(there.params_wrong for there in found)}"
    )
    return Measured(figure, all(there.exact and there.models == 1 for there in found))


def _killed_and_resumed(stage: Stage, name: str) -> Arrival:
    server, tap = server_and_tap()
    tap.turn("forget runs/create")  # the run is made, and its sender does not hear of it
    training = Training(stage, tap.uri, name, epochs=10000, samples=100, timeout_s=3)
    training.until(lambda: bool(runs_of(server, training.run_dir)))
    tap.turn("pass")
    training.until(lambda: training.sent > 5000)
    training.kill()
    training = Training(stage, tap.uri, name, epochs=10000, samples=100)
    sent = training.sent
    training.until(lambda: training.sent > sent + 5000)
    training.signal_sender(signal.SIGKILL)
    time.sleep(1)
    training.kill()
    training = Training(stage, tap.uri, name, epochs=10000, samples=100, stop_after=training.nimg + 40)
    if stage.thorough:
        training.until(lambda: bool(training.records("snapshot")) and training.unsent < 1000)
        time.sleep(stage.random.uniform(0, 6))  # while it logs the models, one of them, or none
        training.signal_sender(signal.SIGKILL)
    training.wait()
    RunFolder(training.run_dir).sender_state.unlink()
    RunFolder(training.run_dir).sender_state.write_text(json.dumps({"store": tap.uri}))
    sync(training)
    return arrival(server, training.run_dir)


BAD_NAMES = [
    *("", " ", ".", "..", "../x", "a/../../x", "/etc/x", "a/b", "a\\b", "~", "~root", "-rf", "--name", ".hidden"),
    *("a\0b", "a\nb", "a\n", "a\rb", "a\tb", "a b", "a" * 129, "a" * 300, "a?b#c", "a%2Fb", "x@prod", "a:b", "runs:/x"),
    *(
        "'; DROP TABLE runs; --",
        "$(id)",
        "`id`",
        "a|b",
        "<script>",
        "ä",
        "a\u202eb",
        "\ud800",
        "models:/a/1",
        "s3://b/c",
    ),
]


@row("E8", "A run has a malicious name", "refused before anything is written or sent")
def bad_names(stage: Stage) -> Measured:
    accepted = [name for name in BAD_NAMES if _accepts({"name": name})]
    fine_here = ("a b", "x@prod", "a/b", "a" * 129)  # as Databricks names folders
    groups = [*(f"g/{name}" for name in BAD_NAMES if name not in fine_here), "g//x", "/", "a" * 251]
    experiments = [name for name in groups if _accepts({"tracking": {"experiment": name}})]
    fine = ["run", "horse2zebra", "a.b-c_d", "7", "a" * 128]
    refused = [name for name in fine if not _accepts({"name": name})]
    figure = (
        f"accepted {len(accepted)} of {len(BAD_NAMES)} bad names of runs, {len(experiments)} of {len(groups)} of "
        f"experiments; refused {len(refused)} of {len(fine)} good ones"
    )
    return Measured(figure, not (accepted or refused or experiments))


def _accepts(tree: dict[str, object]) -> bool:
    try:
        check_config(tree, "test")
    except UsageError:
        return False
    return True


@dataclass(frozen=True)
class Slowdown:
    """What a sender costs a training.

    Attributes:
        ratios: median step of a second with the sender at work, over that of the next second, in which it is stopped.
        processor: the sender's share of a core.
    """

    ratios: list[float]
    processor: float

    @property
    def change(self) -> float:
        return statistics.median(self.ratios) - 1

    @property
    def error(self) -> float:
        """Standard error of `change`: what else the machine does."""
        return 1.25 * statistics.stdev(self.ratios) / len(self.ratios) ** 0.5

    @property
    def unharmed(self) -> bool:
        """A busy machine may not show a change of 1 %; the processor time bounds it from above all the same."""
        return self.change - 2 * self.error < 0.01 and self.processor < 0.01

    def __str__(self) -> str:
        return (
            f"median step {100 * self.change:+.1f} % +- {100 * self.error:.1f} ({len(self.ratios)} pairs of seconds), "
            f"the sender takes {100 * self.processor:.1f} % of a core"
        )


def slowdown(stage: Stage, mode: str) -> Slowdown:
    """One training whose MLflow is in `mode`. Its sender is stopped and goes on, second after second: what else the
    machine does meets both kinds of seconds alike, which it does not with whole runs.
    """
    _, tap = server_and_tap()
    calls = tap.turn(mode)
    training = Training(stage, tap.uri, mode.replace(" ", "-"), epochs=10000)
    training.until(lambda: tap.turn(mode) > calls or "keeps the rest" in training.said)  # it has loaded mlflow
    pairs, began, used = 60, time.time(), training.sender_seconds()
    for second in range(2 * pairs):
        training.signal_sender(signal.SIGSTOP if second % 2 else signal.SIGCONT)
        time.sleep(max(0.0, began + second + 1 - time.time()))
    training.signal_sender(signal.SIGCONT)
    processor = (training.sender_seconds() - used) / pairs
    seconds: list[list[float]] = [[] for _ in range(2 * pairs)]
    for ended, duration in training.step_seconds():
        second = int(ended - began)
        if ended - duration > began + second and second < len(seconds):  # the step lies in one second
            seconds[second].append(duration)
    tap.turn("closed")
    training.stop()
    both = [(on, off) for on, off in zip(seconds[::2], seconds[1::2], strict=True) if on and off]
    return Slowdown([statistics.median(on) / statistics.median(off) for on, off in both], processor)
