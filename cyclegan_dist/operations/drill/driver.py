"""Faults of the launcher's process: signals sent to it from outside."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from cyclegan_dist.operations.drill.inject import record_path
from cyclegan_dist.operations.drill.measure import read_steps
from cyclegan_dist.operations.drill.plan import FOLDER, Fault

SIGNALS = {
    "driver_kill": signal.SIGKILL,
    "driver_terminate": signal.SIGTERM,
    "driver_interrupt": signal.SIGINT,
}
POLL_S = 0.1


def wait_and_signal(process: "subprocess.Popen[bytes]", run_dir: Path, pending: list[Fault]) -> Fault | None:
    """Wait until a training ends; send it the first of the pending faults when its step is done.

    Returns:
        The fault that was sent, or None.
    """
    sent = None
    try:
        while process.poll() is None:
            if sent is None and pending and _done(run_dir) >= pending[0].step:
                sent = pending[0]
                _signal(process, run_dir, sent)
            time.sleep(POLL_S)
    finally:
        if process.poll() is None:  # this process is interrupted itself
            process.terminate()
            process.wait()
    return sent


def _done(run_dir: Path) -> int:
    steps = read_steps(run_dir)
    return steps[-1]["step"] if steps else 0


def _signal(process: "subprocess.Popen[bytes]", run_dir: Path, fault: Fault) -> None:
    last = read_steps(run_dir)[-1]
    facts = {"time": time.time(), "step": last["step"], "attempt": last["attempt"], "host": os.uname().nodename}
    record_path(run_dir / FOLDER, fault.number).write_text(json.dumps(facts))
    process.send_signal(SIGNALS[fault.kind])
