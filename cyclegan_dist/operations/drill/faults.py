"""How a process comes to harm. Each function does it to the process that calls it."""

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

FOR_EVER_S = 10**6


def harm(kind: str) -> None:
    """Do what `kind` says to this process. Most kinds do not return."""
    _HARMS[kind]()


def _exception() -> None:
    raise RuntimeError("a fault of the drill")


def _system_exit() -> None:
    raise SystemExit(1)


def _hold_lock() -> None:
    # PyDLL keeps the interpreter's lock while it calls: no other thread of this process runs any more.
    ctypes.PyDLL(None).sleep(FOR_EVER_S)


def _node() -> None:
    """Kill this node's Ray: its raylet, with which its workers end."""
    raylet = os.getppid()
    name = Path(f"/proc/{raylet}/comm").read_text().strip()
    if name != "raylet":
        raise RuntimeError(f"the drill cannot kill this node: a rank's parent is {name}, not Ray's raylet")
    os.kill(raylet, signal.SIGKILL)
    threading.Event().wait()


def _signal(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


_HARMS: dict[str, Callable[[], object]] = {
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
