"""Start times of the processes that a command starts, recognised by their command lines."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil

POLL_INTERVAL_S = 0.5  # start times come from the kernel, so frequent polling is unnecessary


@contextmanager
def watch_process_starts(names: Mapping[str, str]) -> Iterator[dict[str, float]]:
    """Watch the processes that this process and its descendants start, until the block ends.

    Args:
        names: substrings of command lines, by the name to report them under.

    Yields:
        Start time of the first matching process of each name, in seconds since the epoch; names without a match are
        absent.
    """
    offset, seen, done = _psutil_clock_offset(), dict[str, float](), threading.Event()
    since = time.time()

    def watch() -> None:
        while not done.wait(POLL_INTERVAL_S):
            for process in psutil.Process().children(recursive=True):
                try:
                    line, started = " ".join(process.cmdline()), process.create_time() + offset
                except psutil.Error:  # the process has just ended
                    continue
                for name, part in names.items():
                    if part in line and started >= since - 0.05:  # the kernel's resolution is 0.01 s
                        seen[name] = min(started, seen.get(name, started))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def _psutil_clock_offset(probes: int = 3) -> float:
    """Seconds to add to psutil's start times, which are based on the boot time rounded down to whole seconds."""

    def probe() -> float:
        began = time.time()
        with psutil.Popen(["true"]) as process:
            return began - process.create_time()

    return max(probe() for _ in range(probes))  # a process cannot start before its creation is requested
