"""The loader's worker processes: their sockets, their errors, waiting for them, and their end."""

import contextlib
import multiprocessing
import multiprocessing.util
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from multiprocessing.queues import Queue
from typing import Any

from torch.utils.data import DataLoader

from cyclegan_dist.data.reader import DataError
from cyclegan_dist.data.stop_signals import end_with_parent, ignore_stop_signals

POLL_S = 1.0  # between two calls of `waiting`
LONGEST_FOLDER = 70  # bytes: Unix socket paths have at most 107, and up to 32 are appended
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
TIMED_OUT = "DataLoader timed out"  # the beginning of torch's message

Waiting = Callable[[float], None]
"""Called about once a second with the seconds that this rank has waited for a batch; may raise to end the wait."""


class LoaderError(RuntimeError):
    """The loader's processes failed; restarting the ranks may help. The message is one line."""


def wait_on(waited_s: float) -> None:
    """`Waiting` that never ends the wait."""


def use_short_socket_folder() -> None:
    """Keep the sockets by which worker processes send batches out of a TMPDIR whose path is too long for them. Call it
    before workers start, which inherit the folder.
    """
    if len(os.fsencode(tempfile.gettempdir())) <= LONGEST_FOLDER:
        return
    for folder in SHORT_FOLDERS:
        if os.access(folder, os.W_OK | os.X_OK):
            chosen, tempfile.tempdir = tempfile.tempdir, folder
            try:
                multiprocessing.util.get_temp_dir()  # creates it at the first call, and keeps it for later ones
            finally:
                tempfile.tempdir = chosen
            return


def set_up_worker(worker: int) -> None:
    """Leave signals to the rank, end with it, and send errors of the thread that sends batches to the rank, which would
    wait for the batch for ever.
    """
    ignore_stop_signals()
    end_with_parent()
    Queue._on_queue_feeder_error = _send_error  # pyright: ignore


def _send_error(queue: Any, error: Exception, batch: Any) -> None:
    """Send `error` in place of a batch, which is (index, content), or bytes if it was the pipe that failed."""
    from torch._utils import ExceptionWrapper

    if not isinstance(batch, tuple):
        os._exit(1)  # which the rank notices
    queue.put((batch[0], ExceptionWrapper(sys.exc_info(), "in a loader process")))


def stream_batches(loader: DataLoader[Any], waiting: Waiting = wait_on) -> Generator[Any]:
    """The loader's batches. Closing the generator ends its worker processes.

    Args:
        loader: with a timeout of `POLL_S` if it has workers.
        waiting: called while a batch of worker processes is waited for.

    Raises:
        DataError: that a worker raised, in one line, after all have ended.
        LoaderError: for any other error of worker processes and of the threads that pass batches on.
    """
    stream, problem = iter(loader), Exception()
    with _errors_of_pinning(stream) as pinning:
        try:
            while True:
                try:
                    batch = _next(stream, waiting, pinning) if loader.num_workers else next(stream)
                except DataError as error:  # a worker's has that worker's traceback as its text
                    problem = DataError(_last_line(error))
                    break
                except _ProcessError as error:
                    problem = LoaderError(f"the loader's processes failed: {error}")
                    break
                yield batch
        finally:
            # Workers ignore signals, and garbage collection of the iterator is not enough: an exception's traceback may
            # keep it alive until the interpreter exits, which then waits for the workers and hangs.
            if loader.num_workers:
                _end(stream)
    raise problem


class _ProcessError(Exception):
    """What ended the stream of batches, in one line."""


def _next(stream: Any, waiting: Waiting, pinning: list[BaseException]) -> Any:
    """The next batch of worker processes."""
    polls = 0
    while True:
        try:
            return next(stream)
        except DataError:
            raise
        except Exception as error:
            if not str(error).startswith(TIMED_OUT):
                raise _ProcessError(_described(error)) from error
        if pinning:
            raise _ProcessError(_described(pinning[0])) from pinning[0]
        polls += 1  # not read from a clock: a suspended process has not waited
        waiting(polls * POLL_S)


def _described(error: BaseException) -> str:
    line = _last_line(error)
    if re.search("killed by signal|exited unexpectedly", line):
        return f"{line.rstrip('. ')}; if the machine is short of memory, lower data.workers"
    return f"{type(error).__name__}: {line}"


def _last_line(error: BaseException) -> str:
    """The error's own text, without the traceback of another process and its class."""
    lines = str(error).strip().splitlines() or [""]
    return re.sub(r"^[\w.]+(Error|Exception): ", "", lines[-1])


@contextlib.contextmanager
def _errors_of_pinning(stream: Any) -> Generator[list[BaseException]]:
    """The errors that end the thread which copies batches into pinned memory, as they occur."""
    found: list[BaseException] = []
    thread, before = getattr(stream, "_pin_memory_thread", None), threading.excepthook
    if thread is None:
        yield found
        return

    def hook(failed: Any) -> None:
        if failed.thread is thread:
            found.append(failed.exc_value)
        else:
            before(failed)

    threading.excepthook = hook
    try:
        yield found
    finally:
        threading.excepthook = before


def _end(stream: Any) -> None:
    """End the worker processes, also those that hang."""
    workers = list(stream._workers)
    # Torch waits ten seconds for each, and leaves those that ignore SIGTERM.
    kill = threading.Timer(POLL_S, lambda: [worker.kill() for worker in workers])
    kill.daemon = True
    kill.start()
    with contextlib.suppress(RuntimeError):  # torch's, about a killed one
        stream._shutdown_workers()
    kill.cancel()
