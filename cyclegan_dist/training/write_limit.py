"""Time limit of writes that open a run, before the watchdog of the training loop exists. Does not load torch, because
launchers write too.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

RESUME = "run the same command again to resume"


@contextlib.contextmanager
def limited_writes(run_dir: Path, limit_s: float) -> Iterator[None]:
    """End this process with a message if the writes to `run_dir` in this block take longer than `limit_s` seconds: no
    exception can reach a write that hangs.
    """
    timer = threading.Timer(limit_s, _end, (run_dir, limit_s))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def hang_message(run_dir: Path, limit_s: float) -> str:
    """What to say of a write that hangs."""
    return (
        f"writing to {run_dir} has hung for {limit_s:.0f} s: does the storage answer? Raise world.save_timeout_s if it "
        f"is that slow; {RESUME}"
    )


def _end(run_dir: Path, limit_s: float) -> None:
    print(f"error: {hang_message(run_dir, limit_s)}", file=sys.stderr, flush=True)
    os._exit(1)
