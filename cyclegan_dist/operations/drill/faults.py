"""The faults of a rank. Each function applies one to the process that calls it."""

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

FOREVER_S = 10**6


def apply_fault(kind: str) -> None:
    """Apply a fault of this kind to this process. Most kinds do not return."""
    _FAULTS[kind]()


def _exception() -> None:
    raise RuntimeError("a fault of the drill")


def _system_exit() -> None:
    raise SystemExit(1)


def _hold_lock() -> None:
    # PyDLL keeps the interpreter's lock while it calls: no other thread of this process can run.
    ctypes.PyDLL(None).sleep(FOREVER_S)


def _node() -> None:
    """Kill Ray on this node: the raylet, whose workers end with it."""
    raylet = os.getppid()
    name = Path(f"/proc/{raylet}/comm").read_text().strip()
    if name != "raylet":
        raise RuntimeError(f"the drill cannot kill this node: a rank's parent is {name}, not Ray's raylet")
    os.kill(raylet, signal.SIGKILL)
    threading.Event().wait()


def _signal(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


_FAULTS: dict[str, Callable[[], object]] = {
    "kill": _signal(signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "exit": lambda: os._exit(1),
    "exception": _exception,
    "system_exit": _system_exit,
    "terminate": _signal(signal.SIGTERM),
    "hang": lambda: threading.Event().wait(),
    "freeze": _signal(signal.SIGSTOP),
    "hold_lock": _hold_lock,
    "node": _node,
}
