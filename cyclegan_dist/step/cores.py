"""The number of CPU cores that a process may use."""

import os


def usable_cores() -> int:
    """Those of the process's affinity, or all where there is none to ask for, as on macOS."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
