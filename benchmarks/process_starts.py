"""When the processes of a command began, told by their names: what a command's start-up is spent on, from outside."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil

LOOK_S = 0.5  # between two looks; when a process began is the kernel's figure, so that this need not be short


@contextmanager
def births(names: Mapping[str, str]) -> Iterator[dict[str, float]]:
    """Watch the processes that this one and its descendants start, until the block ends.

    Args:
        names: by what to call it, a part of a process's command line.

    Yields:
        When the first such process began, in seconds since the epoch; what was not seen is not in it.
    """
    ahead, seen, done = _ahead_of_psutil(), dict[str, float](), threading.Event()
    since = time.time()

    def watch() -> None:
        while not done.wait(LOOK_S):
            for process in psutil.Process().children(recursive=True):
                try:
                    line, born = " ".join(process.cmdline()), process.create_time() + ahead
                except psutil.Error:  # it has just ended
                    continue
                for name, part in names.items():
                    if part in line and born >= since - 0.05:  # the kernel counts in hundredths
                        seen[name] = min(born, seen.get(name, born))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def _ahead_of_psutil(probes: int = 3) -> float:
    """Seconds to add to psutil's time of a birth: to the machine's age then it adds when the machine was started, in
    whole seconds rounded down.
    """

    def probe() -> float:
        began = time.time()
        with psutil.Popen(["true"]) as process:
            return began - process.create_time()

    return max(probe() for _ in range(probes))  # a process cannot be born before it is asked for
