"""Drills E1 to E5 and E8: MLflow is unavailable, slow or failing, senders are killed, run names are malicious."""

import json
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from cyclegan_dist.config.config import check_config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.tracking.sender_state import SENDER_STATE
from tests.faults.matrix import Measured, Stage, row
from tests.faults.mlflow_server import server_and_proxy
from tests.faults.tracked_training import Delivery, Training, delivery, runs_of


def sync(training: Training) -> "subprocess.CompletedProcess[str]":
    """Run the command that the training printed; only the run's folder contains the address of MLflow."""
    command = [sys.executable, "-m", "pipelines.sync", str(training.run_dir)]
    return subprocess.run(command, capture_output=True, text=True, env=training.environment(), timeout=300)


@row(
    "E1",
    "MLflow is down at the start",
    "training starts without delay, exits with 0, and prints the command to send later",
    slow=True,
    nightly=True,
)
def down_at_start(stage: Stage) -> Measured:
    server, proxy = server_and_proxy()
    proxy.set_mode("closed")
    pairs = [
        [
            _finished(Training(stage, proxy.uri, f"e1-{number}-{mlflow}", mlflow=mlflow, epochs=8))
            for mlflow in (False, True)
        ]
        for number in range(stage.times(1, 7))
    ]
    without, with_mlflow = (
        statistics.median(t.first_step_s for t in trainings) for trainings in zip(*pairs, strict=True)
    )
    codes = {training.code for pair in pairs for training in pair}
    last = pairs[-1][1]
    proxy.set_mode("pass")
    sent = sync(last)
    delivered = delivery(server, last.run_dir)
    figure = (
        f"first step {with_mlflow:.2f} s after the start, {with_mlflow - without:+.2f} s compared with runs without MLflow "
        f"({len(pairs)} pairs of runs); exit codes {sorted(codes)}; delay at the end {last.end_s:.1f} s; after the printed "
        f"command: {delivered} {sent.stderr}"
    ).strip()
    passed = codes == {0} and last.names_sync and sent.returncode == 0 and delivered.exact
    return Measured(figure, passed and with_mlflow - without < stage.times(5, 1))


def _finished(training: Training) -> Training:
    training.wait()
    return training


@row(
    "E2",
    "MLflow goes down during training, temporarily or permanently",
    "no step is slower; no point is lost",
    slow=True,
)
def down_during_training(stage: Stage) -> Measured:
    server, proxy = server_and_proxy()
    proxy.set_mode("pass")
    training = Training(stage, proxy.uri, "e2", epochs=10000)
    training.until(lambda: training.sent > 5000)
    proxy.set_mode("closed")
    before, outage_s = training.sender_mb(), stage.times(3, 60)
    time.sleep(outage_s)
    proxy.set_mode("pass")
    if stage.thorough:  # the sender catches up during the training
        training.until(lambda: training.unsent < 50000)
    memory = training.sender_mb()
    code = training.stop()
    delivered = delivery(server, training.run_dir)
    figure = (
        f"down for {outage_s} s: exit code {code}, {delivered}; the sender used {before:.0f} MB before and {memory:.0f} MB "
        "after it, as it has no queue and continues to read the journal"
    )
    passed = code == 143 and delivered.exact and memory < before + 50
    if stage.thorough:
        cost = slowdown(stage, "closed")
        figure, passed = f"{figure}; down permanently: {cost}", passed and cost.negligible
    return Measured(figure, passed)


@row(
    "E3",
    "MLflow goes down at the end",
    "exit code 0; everything is kept; the command to send later is printed",
    slow=True,
)
def down_at_the_end(stage: Stage) -> Measured:
    server, proxy = server_and_proxy()
    proxy.set_mode("pass")
    training = Training(stage, proxy.uri, "e3", epochs=stage.times(20, 60))
    training.until(lambda: training.sent > 5000)
    proxy.set_mode("closed")
    code = training.wait()
    kept = list((training.run_dir / "snapshots").glob("*/G_*.safetensors"))
    figure = f"exit code {code}, {len(kept)} generators kept, delay at the end {training.end_s:.1f} s"
    passed = code == 0 and len(kept) == 2 and training.names_sync
    if stage.thorough:
        proxy.set_mode("pass")
        sync(training)
        delivered = delivery(server, training.run_dir)
        figure, passed = f"{figure}; sent later: {delivered}", passed and delivered.exact
    return Measured(figure, passed)


@row("E4", "MLflow is slow, answers with 429 or 500, or does not answer", "as E2", slow=True, nightly=True)
def slow_or_failing(stage: Stage) -> Measured:
    server, proxy = server_and_proxy()
    slow, each = f"slow {stage.times(1, 5)}", stage.times(2, 30)
    modes = [slow, "status 429", "status 500", "hang", "forget /"]
    proxy.set_mode("pass")
    training = Training(stage, proxy.uri, "e4", epochs=10000, timeout_s=stage.times(1, 10))
    training.until(lambda: training.sent > 5000)
    for mode in modes:
        proxy.set_mode(mode)
        time.sleep(each)
    proxy.set_mode("pass")
    code = training.stop()
    delivered = delivery(server, training.run_dir)
    passed = code == 143 and delivered.exact
    figures = [f"{', '.join(modes)}, {each} s each: exit code {code}, {delivered}"]
    for mode in (slow, "status 500", "hang") if stage.thorough else ():
        cost = slowdown(stage, mode)
        proxy.set_mode(mode)
        training = Training(stage, proxy.uri, f"e4-{mode.replace(' ', '-')}", epochs=20)
        code = training.wait()
        figures.append(f"{mode}: {cost}; exit code {code}, delay at the end {training.end_s:.0f} s")
        passed = passed and code == 0 and cost.negligible and training.names_sync
    proxy.set_mode("pass")
    return Measured("; ".join(figures), passed)


@row(
    "E5",
    "a run is killed and resumed, and its senders are killed",
    "one MLflow run; every point, parameter and model exactly once",
    slow=True,
    nightly=True,
)
def logged_again(stage: Stage) -> Measured:
    runs = stage.times(1, 5)
    found = [_killed_and_resumed(stage, f"e5-{number}") for number in range(runs)]
    lost, repeated = sum(each.missing for each in found), sum(each.repeated for each in found)
    figure = (
        f"{runs} x (killed twice, sender killed twice, first response lost, sender state deleted): points lost {lost}, "
        f"repeated {repeated}, MLflow runs {[each.runs for each in found]}, models {[each.models for each in found]}, images "
        f"lost or repeated {sum(each.images_wrong for each in found)}, parameters wrong "
        f"{sum(each.params_wrong for each in found)}"
    )
    return Measured(figure, all(each.exact and each.models == 1 for each in found))


def _killed_and_resumed(stage: Stage, name: str) -> Delivery:
    server, proxy = server_and_proxy()
    proxy.set_mode("forget runs/create")  # the run is created, but its sender does not receive the response
    training = Training(stage, proxy.uri, name, epochs=10000, samples=100, timeout_s=3)
    training.until(lambda: bool(runs_of(server, training.run_dir)))
    proxy.set_mode("pass")
    training.until(lambda: training.sent > 5000)
    training.kill()
    training = Training(stage, proxy.uri, name, epochs=10000, samples=100)
    sent = training.sent
    training.until(lambda: training.sent > sent + 5000)
    training.signal_sender(signal.SIGKILL)
    time.sleep(1)
    training.kill()
    training = Training(stage, proxy.uri, name, epochs=10000, samples=100, stop_after=training.nimg + 40)
    if stage.thorough:
        training.until(lambda: bool(training.records("snapshot")) and training.unsent < 1000)
        time.sleep(stage.random.uniform(0, 6))  # before, during or after logging the models
        training.signal_sender(signal.SIGKILL)
    training.wait()
    (training.run_dir / SENDER_STATE).unlink()
    (training.run_dir / SENDER_STATE).write_text(json.dumps({"store": proxy.uri}))
    sync(training)
    return delivery(server, training.run_dir)


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


@row("E8", "a run has a malicious name", "refused before anything is written or sent")
def bad_names(stage: Stage) -> Measured:
    accepted = [name for name in BAD_NAMES if _accepts({"name": name})]
    valid_in_groups = ("a b", "x@prod", "a/b", "a" * 129)  # valid in Databricks folder names
    groups = [*(f"g/{name}" for name in BAD_NAMES if name not in valid_in_groups), "g//x", "/", "a" * 251]
    experiments = [name for name in groups if _accepts({"tracking": {"experiment": name}})]
    valid = ["run", "horse2zebra", "a.b-c_d", "7", "a" * 128]
    refused = [name for name in valid if not _accepts({"name": name})]
    figure = (
        f"accepted {len(accepted)} of {len(BAD_NAMES)} bad run names and {len(experiments)} of {len(groups)} bad experiment "
        f"names; refused {len(refused)} of {len(valid)} valid names"
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
    """Cost of a sender for a training.

    Attributes:
        ratios: median step time in a second with the sender running, divided by that in the next second, without it.
        cpu: the sender's share of a core.
    """

    ratios: list[float]
    cpu: float

    @property
    def change(self) -> float:
        return statistics.median(self.ratios) - 1

    @property
    def error(self) -> float:
        """Standard error of `change`, caused by other load on the machine."""
        return 1.25 * statistics.stdev(self.ratios) / len(self.ratios) ** 0.5

    @property
    def negligible(self) -> bool:
        """Whether the cost is below 1 %. CPU time is an upper bound where step times on a busy machine are too noisy."""
        return self.change - 2 * self.error < 0.01 and self.cpu < 0.01

    def __str__(self) -> str:
        return (
            f"median step {100 * self.change:+.1f} % +- {100 * self.error:.1f} ({len(self.ratios)} pairs of seconds), "
            f"the sender uses {100 * self.cpu:.1f} % of a core"
        )


def slowdown(stage: Stage, mode: str) -> Slowdown:
    """Measure a training whose MLflow is in `mode`. The sender is stopped in every other second, so that other load on the
    machine affects seconds with and without it alike, which comparing whole runs would not achieve.
    """
    _, proxy = server_and_proxy()
    calls = proxy.set_mode(mode)
    training = Training(stage, proxy.uri, mode.replace(" ", "-"), epochs=10000)
    training.until(
        lambda: proxy.set_mode(mode) > calls or "keeps what it misses" in training.printed
    )  # mlflow is imported
    pairs, began, used = 60, time.time(), training.sender_seconds()
    for second in range(2 * pairs):
        training.signal_sender(signal.SIGSTOP if second % 2 else signal.SIGCONT)
        time.sleep(max(0.0, began + second + 1 - time.time()))
    training.signal_sender(signal.SIGCONT)
    cpu = (training.sender_seconds() - used) / pairs
    seconds: list[list[float]] = [[] for _ in range(2 * pairs)]
    for ended, duration in training.step_seconds():
        second = int(ended - began)
        if ended - duration > began + second and second < len(seconds):  # the step lies in one second
            seconds[second].append(duration)
    proxy.set_mode("closed")
    training.stop()
    both = [(on, off) for on, off in zip(seconds[::2], seconds[1::2], strict=True) if on and off]
    return Slowdown([statistics.median(on) / statistics.median(off) for on, off in both], cpu)
