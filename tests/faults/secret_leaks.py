"""Drill F5: a search for leaked secrets in all files that trainings and later commands write."""

import base64
import gzip
import io
import json
import re
import secrets
import signal
import subprocess
import sys
import tarfile
import urllib.parse
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cyclegan_dist.config.config import Config, dump_config
from cyclegan_dist.tracking.journal import JOURNAL
from tests.conftest import write_images
from tests.faults.matrix import Measured, Stage, row
from tests.faults.mlflow_server import MlflowServer
from tests.faults.ray_heads import BIN, Head, process_tree, ray_head, wait_until

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 240.0
VARIABLES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY", "FSSPEC_FTP_PASSWORD"),
    *("HF_TOKEN", "GITHUB_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_S3_SECRET", "PGPASSWORD", "RAY_AUTH_TOKEN"),
)


def random_secret() -> str:
    return f"random_secret{secrets.token_hex(16)}"


@row(
    "F5",
    "secrets in the environment and in URLs of a training that loses a rank, of one that fails, and of later commands",
    "no secret is written or printed",
    nightly=True,
)
def secrets_stay(stage: Stage) -> Measured:
    planted = {name: random_secret() for name in (*VARIABLES, "password", "key")}
    (stage.folder / "mlflow").mkdir()
    server = MlflowServer(stage.folder / "mlflow")
    variables = {name: planted[name] for name in VARIABLES} | {
        "MLFLOW_TRACKING_URI": f"http://someone:{planted['password']}@127.0.0.1:{server.port}",
        "CYCLEGAN_DIST_HOME": str(stage.folder),
        "PYTHONPATH": str(ROOT),
    }
    try:
        with ray_head(stage.folder / "home", variables) as head:
            resumed, failed = _train(stage, head)
            codes = _use(stage, head.environment)
            refused = _urls(stage, head.environment, planted)
            scanned, found = _search({"run": stage.folder, "Ray": head.temporary}, planted)
    finally:
        server.stop()
    return Measured(
        f"{len(planted)} secrets, found {len(found)} {sorted(found)[:5] or ''} in {sum(scanned.values())} files "
        f"({scanned}), archives included; rank killed and training resumed: {resumed}, training failed: {failed}; exit "
        f"codes of evaluate, promote, gallery, sync {codes}; URLs with a secret refused {refused} of 3",
        not found and resumed and failed and not any(codes) and refused == 3 and min(scanned.values()) > 50,
    )


def _train(stage: Stage, head: Head) -> tuple[bool, bool]:
    """Run a job that loses a rank and resumes, and a training that fails. Returns whether they did."""
    every = {"every__samples": 100, "every__snapshot": 200, "every__checkpoint": 40, "world__num_workers": 2}
    shared = {**every, "held_out__data": str(stage.dataset), "tracking__mlflow": True, "schedule__n_epochs_decay": 0}
    config = stage.run(name="killed", schedule__n_epochs=60, **shared)
    job = [str(BIN / "ray"), "job", "submit", "--", sys.executable, "-m", "cyclegan_dist.train", _file(config)]
    _lose_a_rank(stage, head, config, job)
    resumed = "resumed at step" in (config.run_dir / JOURNAL).read_text()
    config = stage.run(
        name="failed", schedule__n_epochs=60, world__max_failures=0, **{**shared, "every__checkpoint": 0}
    )
    code = _lose_a_rank(stage, head, config, [sys.executable, "-m", "cyclegan_dist.train", _file(config)])
    return resumed, code == 2 and (config.run_dir / "crash.txt").exists()


def _file(config: Config) -> str:
    path = config.run_dir.parent / f"{config.name}.yaml"
    path.write_text(dump_config(config))
    return str(path)


def _lose_a_rank(stage: Stage, head: Head, config: Config, command: list[str]) -> int:
    """Start a training, kill a rank during it, and wait for the end. Returns the exit code."""
    journal = config.run_dir / JOURNAL
    with (stage.folder / f"{config.name}.log").open("w") as log:
        process = subprocess.Popen(command, env=head.environment, stdout=log, stderr=log, cwd=stage.folder)
    wait_until(lambda: journal.exists() and journal.read_bytes().count(b'"metrics"') > 15, TIMEOUT_S)
    ranks = [p for p in process_tree(head.process.pid) if "TrainWorker" in " ".join(p.cmdline())]
    ranks[-1].send_signal(signal.SIGKILL)
    return process.wait(TIMEOUT_S)


def _use(stage: Stage, environment: Mapping[str, str]) -> list[int]:
    """Run the commands that read a finished run. Returns their exit codes."""
    run, data, images = str(stage.folder / "runs" / "killed"), str(stage.dataset), write_images(stage.folder / "new", 2)
    commands = [
        ["evaluate", run, "--data", data],
        ["promote", run, "--name", "killed", "--data", data, "--dry-run"],
        ["gallery", run, str(images), str(images), str(stage.folder / "gallery")],
        ["sync", run],
    ]
    return [_run(stage, environment, command) for command in commands]


def _run(stage: Stage, environment: Mapping[str, str], arguments: list[str]) -> int:
    with (stage.folder / f"{arguments[0]}.log").open("a") as log:
        command = [sys.executable, "-m", f"pipelines.{arguments[0]}", *arguments[1:]]
        return subprocess.run(
            command, env=environment, stdout=log, stderr=log, cwd=stage.folder, timeout=TIMEOUT_S
        ).returncode


def _urls(stage: Stage, environment: Mapping[str, str], planted: Mapping[str, str]) -> int:
    """The number of refused trainings whose URLs contain a secret."""
    urls = {
        "checkpoints": f"ftp://someone:{planted['password']}@127.0.0.1/runs",
        "data.path": f"https://someone:{planted['key']}@127.0.0.1/data",
        "held_out.data": f"https://127.0.0.1/data?signature={planted['key']}",
    }
    refused = 0
    for option, url in urls.items():
        command = [sys.executable, "-m", "cyclegan_dist.train", "demo", "--name", "urls", f"--{option}", url]
        done = subprocess.run(
            command, env=environment, cwd=stage.folder, capture_output=True, text=True, timeout=TIMEOUT_S
        )
        (stage.folder / f"{option}.log").write_text(done.stdout + done.stderr)
        refused += done.returncode == 2 and option in done.stderr and "password" in done.stderr
    return refused


def _search(folders: Mapping[str, Path], planted: Mapping[str, str]) -> tuple[dict[str, int], set[str]]:
    """The number of files below each folder, and the secrets found in them, plain or encoded."""
    wanted = {form: name for name, value in planted.items() for form in _forms(value)}
    pattern = re.compile(b"|".join(map(re.escape, wanted)))
    scanned, found = {}, set()
    for title, folder in folders.items():
        paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        scanned[title] = len(paths)
        for path in paths:
            for content in _contents(path.read_bytes()):
                found |= {f"{wanted[hit]} in {path.relative_to(folder)}" for hit in pattern.findall(content)}
    return scanned, found


def _forms(value: str) -> set[bytes]:
    """A secret as it is, in base64 at any offset of a longer text, and escaped for JSON and URLs."""
    inner = [base64.b64encode(b"x" * shift + value.encode())[4 * bool(shift) : -4] for shift in range(3)]
    return {value.encode(), urllib.parse.quote(value).encode(), json.dumps(value)[1:-1].encode(), *inner}


def _contents(data: bytes) -> Iterator[bytes]:
    """A file's content and, if it is an archive, the content of its members."""
    yield data
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)
    elif tarfile.is_tarfile(io.BytesIO(data)):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            files = [archive.extractfile(member) for member in archive if member.isfile()]
            yield from (file.read() for file in files if file is not None)
