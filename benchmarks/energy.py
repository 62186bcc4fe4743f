"""Energy that a GPU takes while something runs, as far as the card reports its power."""

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SAMPLE_S, WRITE_S = 1.0, 5.0  # seconds between two readings, and between two lines of the log


def power_reader() -> Callable[[], float] | None:
    """A function that returns the power of the current GPU in watts: from NVML, else from `nvidia-smi`. None if neither
    reports it.
    """
    if not torch.cuda.is_available():
        return None
    for read in (lambda: torch.cuda.power_draw() / 1e3, _from_nvidia_smi):
        try:
            read()
        except Exception:  # NVML is missing or does not support it, and each has errors of its own
            continue
        return read
    return None


def _from_nvidia_smi() -> float:
    query = ["nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits", "--id=0"]
    return float(subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout)


class EnergyLog:
    """Appends lines about this process to `path` until the block ends, so that little is lost if it is killed.

    Each line is a JSON object: `started` and `time` in seconds since 1970, `joules` since `started` or null, and what
    is in `facts`. Of the lines with the same `started` the last one counts.
    """

    def __init__(self, path: Path, started: float, read: Callable[[], float] | None):
        self.facts: dict[str, Any] = {}
        self._path, self._started, self._read = path, started, read
        self._joules = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "EnergyLog":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()
        self._write()

    def _follow(self) -> None:
        last, written = time.monotonic(), time.monotonic()
        while not self._done.wait(SAMPLE_S):
            now = time.monotonic()
            if self._read is not None:
                try:
                    self._joules += self._read() * (now - last)
                except Exception:
                    self._read = None  # a sum with gaps is no sum
            last = now
            if now - written >= WRITE_S:
                self._write()
                written = now

    def _write(self) -> None:
        joules = self._joules if self._read is not None else None
        line = {"started": self._started, "time": time.time(), "joules": joules, **self.facts}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
