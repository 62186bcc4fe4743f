"""Forked processes that are killed at a chosen call or cannot write large files."""

import itertools
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from typing import Any

LONG_S = 30  # a shorter timeout is of a test of something that hangs


def in_fork(work: Callable[[], Any], timeout_s: float = 120) -> int | None:
    """Run `work` in a forked process, and return its exit code, or minus the number of the signal that killed it."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(timeout_s)
    if process.is_alive():
        if timeout_s >= LONG_S:  # unexpected: pytest's faulthandler prints what each thread does
            os.kill(process.pid or 0, signal.SIGABRT)
            process.join(5)
        process.kill()
        process.join()
    return process.exitcode


def kill_at(call: int, *functions: tuple[Any, str]) -> None:
    """Make this process kill itself with SIGKILL at the `call`-th call (from 0) of any of `functions`, given as (owner,
    name).
    """
    count = itertools.count()

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if next(count) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return counted

    for owner, name in functions:
        setattr(owner, name, wrap(getattr(owner, name)))


def limit_file_size(size: int) -> None:
    """Limit the size of files that this process can write, which has the effect of a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
