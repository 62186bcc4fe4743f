"""Benchmark of the process that sends a training to MLflow: its processor time relative to the training's, and its
memory.

    python -m benchmarks.sender [--minutes 5]

The demo, trained longer by one process with one thread, sent to a new database. Processor time is counted by the
kernel, so that other processes on the machine hardly change the result.
"""

import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import tyro

from benchmarks.machine import environment
from benchmarks.runs import LaunchSetup
from cyclegan_dist.errors import UsageError, run_command

OPTIONS = {"name": "sent", "world.threads": 1, "schedule.n_epochs": 100_000, "every.checkpoint": 0}
SENDER = "cyclegan_dist.training.sender"
POLL_S = 0.5


def cpu_s(process: psutil.Process) -> float:
    """Seconds of processor time so far, of all its threads."""
    times = process.cpu_times()
    return times.user + times.system


def loads_torch(process: psutil.Process) -> bool:
    """Whether it has loaded torch's library."""
    return bool(re.search("libtorch", Path(f"/proc/{process.pid}/maps").read_text()))


def follow(process: psutil.Process, minutes: float) -> list[tuple[float, float, float]]:
    """Processor seconds of training and sender and the sender's MB, about twice a second, from the first step on."""
    ends, found = time.monotonic() + 60 * minutes, list[tuple[float, float, float]]()
    sender = None
    while time.monotonic() < ends:
        time.sleep(POLL_S)
        if process.status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError("the training has ended")
        children = [child for child in process.children() if SENDER in child.cmdline()]
        sender = sender or next(iter(children), None)
        if sender is not None:
            found.append((cpu_s(process), cpu_s(sender), sender.memory_info().rss / 1e6))
    assert sender is not None
    print(f"the sender has{'' if loads_torch(sender) else ' not'} loaded torch\n")
    return found


def main(minutes: float = 5.0) -> None:
    """Measure and print."""
    if minutes < 1:
        raise UsageError(f"{minutes} minutes: the start alone takes most of them; give at least 1, preferably 5")
    print(environment("mlflow"))
    with tempfile.TemporaryDirectory(prefix="sender") as home:
        command = LaunchSetup("one process", 1).command("demo", OPTIONS)
        training = subprocess.Popen(
            command, env={**os.environ, "CYCLEGAN_DIST_HOME": home}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            found = follow(psutil.Process(training.pid), minutes)
        finally:
            training.send_signal(signal.SIGTERM)
            training.wait()
    half = found[len(found) // 2]
    (trained, sent, _), (last_trained, last_sent, _) = half, found[-1]
    print("| | training, CPU s | sender, CPU s | share |\n|---|---|---|---|")
    print(f"| whole | {last_trained:.1f} | {last_sent:.2f} | {100 * last_sent / last_trained:.2f} % |")
    later, more = last_trained - trained, last_sent - sent
    print(f"| second half | {later:.1f} | {more:.2f} | {100 * more / later:.2f} % |")
    print(f"\nThe sender takes {max(memory for *_, memory in found):.0f} MB.")


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, prog="python -m benchmarks.sender", description=__doc__))
