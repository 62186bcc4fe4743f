"""The signals that ask a training to save a checkpoint and stop, and processes that end with their parent."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

STOP_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,  # a closed terminal
    signal.SIGUSR1,  # Slurm's --signal, and other schedulers
    signal.SIGXCPU,  # a limit of CPU time
)
# A terminal that closes sends SIGHUP twice, and the system SIGXCPU each second.
NEVER_AT_ONCE = (signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)
OUTPUTS = (1, 2)
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def handle_stop_signals(handler: Callable[[int, FrameType | None], Any]) -> dict[int, Any]:
    """Call `handler` on each of `STOP_SIGNALS`, but not on SIGHUP under `nohup`. Returns the handlers before.

    Output to a terminal that is gone is dropped: as an error it would end the training.
    """
    terminals = [descriptor for descriptor in OUTPUTS if os.isatty(descriptor)]

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _drop_output(terminals)
        handler(number, frame)

    handled = [n for n in STOP_SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    return {number: signal.signal(number, handle) for number in handled}


def ignore_stop_signals() -> None:
    """For processes that must outlive the training: a signal may reach the whole process group."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _drop_output(terminals: list[int]) -> None:
    gone = [descriptor for descriptor in terminals if not os.isatty(descriptor)]
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in gone:
            os.dup2(nowhere, descriptor)
        os.close(nowhere)


def end_with_parent() -> None:
    """Kill this process when the thread that started it ends, however that happens. Torch's workers look for their
    parent every five seconds only, and not while they load; those of a `ProcessPoolExecutor` never do. On Linux;
    elsewhere nothing changes.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it died before the call
        os._exit(1)
