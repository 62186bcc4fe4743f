"""Tests that run the complete Slurm scripts with stubs for Slurm, Ray and torchrun."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.commands import parse
from tests.cluster.files import SLURM, name_of

# A step of one task, on this machine: `srun OPTIONS COMMAND` runs the command.
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
SLURM_NODEID=0 exec "$@"
"""
# Records its command line and the mode of the token file, then runs until the file STOP exists, or fails at once.
PROGRAM = """#!/usr/bin/env bash
printf '%s\\n' "$(basename "$0")" "$@" > "$NOTES/command.tmp"
stat --format %a "${RAY_AUTH_TOKEN_PATH:-/dev/null}" > "$NOTES/mode"
cp "${RAY_AUTH_TOKEN_PATH:-/dev/null}" "$NOTES/token"
mkdir -p "$CYCLEGAN_DIST_HOME/runs/mine" && mv "$NOTES/command.tmp" "$NOTES/command"
for _ in $(seq 600); do
  [ "$ENDS" = running ] || exit "$ENDS"
  [ -e "$CYCLEGAN_DIST_HOME/runs/mine/STOP" ] && exit 143
  sleep 0.05
done
"""
STUBS = {
    "srun": SRUN,
    "ray": PROGRAM,
    "torchrun": PROGRAM,
    "hostname": "#!/usr/bin/env bash\necho 192.0.2.7 198.51.100.7\n",
    # Prints names one by one: a reader that closes the pipe after the first name must not fail.
    "scontrol": '#!/usr/bin/env bash\necho "$*" >> "$NOTES/scontrol"\necho node1; sleep 0.1; echo node2\n',
}


@dataclass(frozen=True)
class Batch:
    """A script that runs as a batch job of Slurm."""

    process: "subprocess.Popen[str]"
    notes: Path

    def wait_for_training(self) -> list[str]:
        """Wait for the training command, and return its command line."""
        limit = time.monotonic() + 20
        while not (self.notes / "command").exists():
            assert self.process.poll() is None and time.monotonic() < limit, self.process.communicate()
            time.sleep(0.02)
        return (self.notes / "command").read_text().splitlines()

    def end(self) -> int:
        _, errors = self.process.communicate(timeout=20)
        assert "unbound variable" not in errors
        return self.process.returncode

    @property
    def requeued(self) -> bool:
        return "requeue 4711" in (self.notes / "scontrol").read_text()


@pytest.fixture
def batch(tmp_path: Path) -> Callable[..., Batch]:
    binaries, notes, home = tmp_path / "bin", tmp_path / "notes", tmp_path / "home"
    for folder in (binaries, notes, home):
        folder.mkdir()
    for name, text in STUBS.items():
        (binaries / name).write_text(text)
        (binaries / name).chmod(0o755)

    def start(script: Path, *arguments: str, **environment: str) -> Batch:
        slurm = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "4711"}
        slurm |= {"SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "8", "SLURM_GPUS_ON_NODE": "4"}
        own = {"PATH": f"{binaries}:{os.environ['PATH']}", "HOME": str(home), "NOTES": str(notes), "ENDS": "running"}
        environment = {**own, **slurm, "CYCLEGAN_DIST_HOME": str(tmp_path), **environment}
        process = subprocess.Popen(
            ["bash", str(script), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return Batch(process, notes)

    return start


@pytest.mark.parametrize("script", SLURM, ids=name_of)
def test_commands_are_accepted(script: Path, batch: Callable[..., Batch]) -> None:
    job = batch(script, "demo", "mine", ENDS="0")
    assert job.end() == 0 and not job.requeued
    command = (job.notes / "command").read_text().splitlines()
    assert command[0] == ("ray" if script.stem == "ray" else "torchrun")
    assert [word for word in command if word.startswith(("192.0.2.7:", "RAY_ADDRESS=192.0.2.7:"))]
    parse(command)
    assert command[-4:] == ["--name", "mine", "--runs_dir", str(job.notes.parent / "runs")]


@pytest.mark.parametrize("script", SLURM, ids=name_of)
def test_at_the_time_limit_the_training_is_stopped_and_requeued(script: Path, batch: Callable[..., Batch]) -> None:
    """After SIGTERM to the batch shell, ranks stop, the job is requeued, and the exit code is that of the training."""
    job = batch(script, "demo", "mine")
    job.wait_for_training()
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 143
    assert (job.notes.parent / "runs" / "mine" / "STOP").exists()
    assert job.requeued


@pytest.mark.parametrize(
    ("name", "attempt", "requeued"), [("ray", "0", False), ("torchrun", "0", True), ("torchrun", "3", False)]
)
def test_a_failed_training_is_requeued_with_torchrun_only(
    name: str, attempt: str, requeued: bool, batch: Callable[..., Batch]
) -> None:
    """Ray restarts ranks itself; with torchrun a new job is needed, a limited number of times."""
    (script,) = [path for path in SLURM if path.stem == name]
    job = batch(script, "demo", "mine", ENDS="1", SLURM_RESTART_COUNT=attempt)
    assert job.end() == 1
    assert job.requeued is requeued


def test_the_token_file_is_private_and_removed_with_the_job(batch: Callable[..., Batch]) -> None:
    (script,) = [path for path in SLURM if path.stem == "ray"]
    job = batch(script, "demo", "mine", ENDS="0")
    assert job.end() == 0
    assert (job.notes / "mode").read_text() == "600\n"
    assert len((job.notes / "token").read_text().strip()) == 64
    assert list((job.notes.parent / "home").iterdir()) == []


@pytest.mark.parametrize("script", SLURM, ids=name_of)
@pytest.mark.parametrize("arguments", [(), ("demo",)], ids=["nothing", "no name"])
def test_missing_arguments_are_an_error(script: Path, arguments: tuple[str, ...], batch: Callable[..., Batch]) -> None:
    job = batch(script, *arguments)
    _, errors = job.process.communicate(timeout=20)
    assert job.process.returncode != 0
    assert "is missing: sbatch cluster/slurm/" in errors


@pytest.mark.parametrize("script", SLURM, ids=name_of)
def test_slurm_signals_only_the_batch_shell(script: Path) -> None:
    options = [line.split()[1] for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"--signal=B:TERM@300", "--requeue", "--open-mode=append", "--ntasks-per-node=1"} <= set(options)
