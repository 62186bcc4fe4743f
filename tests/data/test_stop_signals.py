"""Signals that stop a training. Forked: handlers belong to the process."""

import os
import pty
import signal
from collections.abc import Callable

import pytest

from cyclegan_dist.data.stop_signals import STOP_SIGNALS, handle_stop_signals, ignore_stop_signals
from tests.faults.forked_processes import in_fork


def test_each_is_handled() -> None:
    def handle() -> None:
        seen: list[int] = []
        handle_stop_signals(lambda number, frame: seen.append(number))
        for number in STOP_SIGNALS:
            os.kill(os.getpid(), number)
        assert seen == [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU]

    assert in_fork(handle) == 0


def test_nohup_is_respected() -> None:
    def handle() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        before = handle_stop_signals(lambda number, frame: os._exit(9))
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.SIGHUP not in before

    assert in_fork(handle) == 0


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_each_can_be_ignored(number: int) -> None:
    def ignore() -> None:
        ignore_stop_signals()
        os.kill(os.getpid(), number)

    assert in_fork(ignore) == 0


def test_output_to_a_closed_terminal_is_no_error() -> None:
    def in_terminal(close: Callable[[], None]) -> None:
        handle_stop_signals(lambda number, frame: print("stopping", flush=True))
        print("training", flush=True)
        close()
        os.kill(os.getpid(), signal.SIGHUP)

    def run() -> None:
        ours, theirs = pty.openpty()
        os.dup2(theirs, 1)
        os.close(theirs)
        in_terminal(lambda: os.close(ours))

    assert in_fork(run) == 0
