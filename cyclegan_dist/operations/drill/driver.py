"""Faults of the launcher's process, dealt from outside."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from cyclegan_dist.operations.drill.inject import fired
from cyclegan_dist.operations.drill.measure import read_steps
from cyclegan_dist.operations.drill.plan import FOLDER, Fault

SIGNALS = {
    "driver_kill": signal.SIGKILL,
    "driver_terminate": signal.SIGTERM,
    "driver_interrupt": signal.SIGINT,
}
POLL_S = 0.1


def attend(process: "subprocess.Popen[bytes]", run_dir: Path, pending: list[Fault]) -> Fault | None:
    """Wait until a training ends; deal it the first of the pending faults when its step is done.

    Returns:
        The fault that was dealt, or None.
    """
    dealt = None
    try:
        while process.poll() is None:
            if dealt is None and pending and _done(run_dir) >= pending[0].step:
                dealt = pending[0]
                _deal(process, run_dir, dealt)
            time.sleep(POLL_S)
    finally:
        if process.poll() is None:  # we are interrupted ourselves
            process.terminate()
            process.wait()
    return dealt


def _done(run_dir: Path) -> int:
    steps = read_steps(run_dir)
    return steps[-1]["step"] if steps else 0


def _deal(process: "subprocess.Popen[bytes]", run_dir: Path, fault: Fault) -> None:
    last = read_steps(run_dir)[-1]
    facts = {"time": time.time(), "step": last["step"], "attempt": last["attempt"], "host": os.uname().nodename}
    fired(run_dir / FOLDER, fault.number).write_text(json.dumps(facts))
    process.send_signal(SIGNALS[fault.kind])
