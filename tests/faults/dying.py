"""Processes that die on purpose."""

import itertools
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from typing import Any


def in_fork(work: Callable[[], Any], timeout_s: float = 120) -> int | None:
    """Run `work` in a forked process: 0, its exit code, or minus the signal that killed it."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(timeout_s)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode


def kill_at(call: int, *functions: tuple[Any, str]) -> None:
    """Have this process killed by SIGKILL at the `call`-th call (from 0) of any of `functions`, given as owner and
    name.
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


def limit_files_to(size: int) -> None:
    """From now on this process cannot make a file larger than `size` bytes, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
