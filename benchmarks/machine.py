"""Description of the machine that a benchmark runs on."""

import datetime
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import torch


def environment(*packages: str) -> str:
    """Date, machine, versions and command, as lines of Markdown."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *packages))
    command = f"python -m {_module()} {' '.join(sys.argv[1:])}".strip()
    return (
        f"{datetime.date.today().isoformat()}, {device()}, Python {platform.python_version()}, {versions}; "
        f"{torch.get_num_threads()} threads\n\n    {command}\n"
    )


def _module() -> str:
    return f"benchmarks.{Path(sys.argv[0]).stem}"


def device() -> str:
    """The GPU if there is one, else the processor and its vector instructions."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores of {_processor()} ({torch.backends.cpu.get_cpu_capability()})"


def _processor() -> str:
    """The processor's name according to Linux."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
