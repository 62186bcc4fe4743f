"""Trainings that log to MLflow, and a comparison of their journal with MLflow's content."""

import multiprocessing
import os
import signal
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cyclegan_dist.training.trainer  # noqa: F401 - imports torch before the forks
from cyclegan_dist.orchestration.launch import launch
from cyclegan_dist.tracking.journal import JOURNAL, read_records
from cyclegan_dist.tracking.sender_state import SenderState
from tests.faults.matrix import Stage
from tests.faults.mlflow_server import MlflowServer

TIMEOUT_S = 120.0


class Training:
    """A training that logs every step, in a forked process, which saves the time to import torch.

    Attributes:
        run_dir: folder of the run.
        output: file with the output of the training and its sender.
        code: exit code, after the end.
    """

    def __init__(
        self,
        stage: Stage,
        uri: str,
        name: str,
        *,
        epochs: int,
        mlflow: bool = True,
        samples: int = 0,
        stop_after: int = 0,
        timeout_s: float = 10,
    ):
        every = {"every__log": 2, "every__checkpoint": 40, "every__samples": samples, "stop_after": stop_after}
        schedule = {"schedule__n_epochs": epochs, "schedule__n_epochs_decay": 0}
        self.config = stage.run(name=name, tracking__mlflow=mlflow, world__threads=1, **every, **schedule)
        self.run_dir = self.config.run_dir
        self.output = self.run_dir / "output"
        self.variables = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_TIMEOUT": str(round(timeout_s))}
        self.began = time.time()
        self._process = multiprocessing.get_context("fork").Process(target=self._train, daemon=True)
        self._process.start()

    def _train(self) -> None:
        os.environ.update(self.variables)
        output = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        code = launch(self.config, "local")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """Environment without the variables of the run's MLflow."""
        return {name: value for name, value in os.environ.items() if name not in self.variables}

    def wait(self) -> int:
        """Wait for the end, and return the exit code."""
        self._process.join(2 * TIMEOUT_S)
        self.ended = time.time()
        assert self._process.exitcode is not None, "the training does not end"
        self.code = self._process.exitcode
        return self.code

    def stop(self) -> int:
        """Send SIGTERM, and return the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill the training, and wait until its sender has sent the rest and exited."""
        sender = self.sender()
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
        deadline = time.monotonic() + TIMEOUT_S
        while sender and _alive(sender) and time.monotonic() < deadline:
            time.sleep(0.1)

    def sender(self) -> int:
        """Process id of the sender, or 0."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except FileNotFoundError:
            return 0
        lines = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
        return next((child for child, line in lines.items() if b"cyclegan_dist.training.sender" in line), 0)

    def signal_sender(self, number: int) -> None:
        """Send a signal to the sender, if there is one."""
        if sender := self.sender():
            os.kill(sender, number)

    def sender_seconds(self) -> float:
        """CPU time of the sender so far."""
        fields = Path(f"/proc/{self.sender()}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def sender_mb(self) -> float:
        """Peak memory of the sender."""
        status = Path(f"/proc/{self.sender()}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def until(self, holds: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        """Wait during the training until `holds` returns true."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline or not self._process.is_alive():
                self.signal_sender(signal.SIGKILL)
                self._process.kill()
                raise AssertionError(f"the condition did not hold in time: {self.printed[-500:]}")
            time.sleep(0.3)

    def records(self, kind: str) -> list[dict[str, Any]]:
        """The journal's records of one kind."""
        path = self.run_dir / JOURNAL
        return [record for record, _ in read_records(path, 0) if record["kind"] == kind] if path.exists() else []

    @property
    def printed(self) -> str:
        """Output of the training and its sender so far."""
        return self.output.read_text() if self.output.exists() else ""

    @property
    def sent(self) -> int:
        """Bytes of the journal that the sender has recorded as sent."""
        return SenderState.read(self.run_dir).offset

    @property
    def unsent(self) -> int:
        """Bytes of the journal that are not yet sent."""
        return (self.run_dir / JOURNAL).stat().st_size - self.sent

    @property
    def nimg(self) -> int:
        return self.records("metrics")[-1]["nimg"]

    def step_seconds(self) -> list[tuple[float, float]]:
        """Time of the end, and duration, of each step."""
        steps = self.records("metrics")
        return [
            (step["time"] / 1000, self.config.optim.batch_size / step["values"]["perf/images_per_s"]) for step in steps
        ]

    @property
    def first_step_s(self) -> float:
        """Seconds from the start of the training to the end of the first step."""
        return self.records("metrics")[0]["time"] / 1000 - self.began

    @property
    def end_s(self) -> float:
        """Seconds from the last record to the end of the process."""
        return self.ended - self.records("end")[-1]["time"] / 1000

    @property
    def names_sync(self) -> bool:
        """Whether the command to send the rest was printed."""
        return f"python -m pipelines.sync {self.run_dir}" in self.printed


@dataclass(frozen=True)
class Delivery:
    """Content of MLflow compared with a run's journal.

    Attributes:
        runs: number of MLflow runs for the run.
        points, missing, repeated: number of points in MLflow, of missing and of repeated ones.
        images_wrong: images that are missing or repeated.
        params_wrong: parameters that are missing or differ from those of the first start.
        models: logged models.
    """

    runs: int = 0
    points: int = 0
    missing: int = 0
    repeated: int = 0
    images_wrong: int = 0
    params_wrong: int = 0
    models: int = 0

    @property
    def exact(self) -> bool:
        return (
            self.runs == 1
            and self.points > 0
            and not any((self.missing, self.repeated, self.images_wrong, self.params_wrong))
        )

    def __str__(self) -> str:
        return f"{self.points} points in {self.runs} run, lost {self.missing}, repeated {self.repeated}"


def delivery(server: MlflowServer, run_dir: Path, refused: Collection[str] = ()) -> Delivery:
    """Compare a run's journal, without `refused` metrics, with the server's content."""
    records = [record for record, _ in read_records(run_dir / JOURNAL, 0)] if (run_dir / JOURNAL).exists() else []
    runs = runs_of(server, run_dir)
    wanted = Counter(
        (key, record["step"], record["time"])
        for record in records
        if record["kind"] == "metrics"
        for key in record["values"]
        if key not in refused
    )
    found = Counter(point for run in runs for point in _points(server, run["info"]["run_id"], wanted))
    pictures = [record for record in records if record["kind"] == "image"]
    images = sum(_images(server, run["info"]["run_id"]) for run in runs)
    first = next((record["config"] for record in records if record["kind"] == "run"), {})
    params = {param["key"]: param["value"] for run in runs for param in run["data"].get("params", [])}
    return Delivery(
        runs=len(runs),
        points=found.total(),
        missing=(wanted - found).total(),
        repeated=(found - wanted).total(),
        images_wrong=abs(2 * len(pictures) - images),
        params_wrong=sum(params.get(key) != str(value) for key, value in first.items()),
        models=sum(_models(server, run["info"]) for run in runs),
    )


def runs_of(server: MlflowServer, run_dir: Path) -> list[dict[str, Any]]:
    """The MLflow runs that belong to a run's folder."""
    experiments = server.call("experiments/search", max_results=100).get("experiments", [])
    ids = [experiment["experiment_id"] for experiment in experiments]
    where = f"tags.`cyclegan_dist.run_dir` = '{run_dir}'"
    return server.call("runs/search", experiment_ids=ids, filter=where).get("runs", [])


def _points(server: MlflowServer, run_id: str, wanted: Counter[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    points = []
    for key in sorted({key for key, _, _ in wanted}):
        query = urllib.parse.urlencode({"run_id": run_id, "metric_key": key, "max_results": 25000})
        history = server.call(f"metrics/get-history?{query}").get("metrics", [])
        points += [(key, int(point.get("step", 0)), int(point["timestamp"])) for point in history]
    return points


def _images(server: MlflowServer, run_id: str) -> int:
    """Number of logged images, including thumbnails."""
    return len(server.call(f"artifacts/list?run_id={run_id}&path=images").get("files", []))


def _models(server: MlflowServer, run: dict[str, Any]) -> int:
    models = server.call("logged-models/search", experiment_ids=[run["experiment_id"]]).get("models", [])
    return sum(model["info"].get("source_run_id") == run["run_id"] for model in models)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
