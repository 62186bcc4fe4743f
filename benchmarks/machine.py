"""What a figure was measured on."""

import datetime
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import torch


def circumstances(*packages: str) -> str:
    """Date, machine, versions and the command, as lines of Markdown."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *packages))
    command = f"python -m {_module()} {' '.join(sys.argv[1:])}".strip()
    return (
        f"{datetime.date.today().isoformat()}, {device()}, Python {platform.python_version()}, {versions}; "
        f"{torch.get_num_threads()} threads\n\n    {command}\n"
    )


def _module() -> str:
    return f"benchmarks.{Path(sys.argv[0]).stem}"


def device() -> str:
    """The GPU if there is one, else the processor and the instructions that matter here."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores of {_processor()} ({torch.backends.cpu.get_cpu_capability()})"


def _processor() -> str:
    """Its name as Linux tells it."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
