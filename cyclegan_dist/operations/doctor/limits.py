"""Cores and memory that processes of this machine may use: those of the machine, or fewer in a container."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cyclegan_dist.step.cores import usable_cores

SERVICES = 1_300_000_000  # bytes that the launcher and Ray's own processes take on one machine


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a node has for the ranks on it.

    Attributes:
        cores: CPU cores, as far as affinity and the cgroup's quota allow.
        memory: bytes, of the machine or of the cgroup.
        free: bytes of it that can be had now, caches of files included.
    """

    cores: float
    memory: int
    free: int


def limits_here(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> Limits:
    """The limits of this process: the smallest of the machine's and of those of its cgroup (version 1 or 2) and of the
    cgroups above it.

    Args:
        proc: where procfs is mounted.
        cgroups: where cgroups are mounted.
    """
    machine = {line.split(":")[0]: int(line.split()[1]) << 10 for line in _lines(proc / "meminfo")}
    total = machine.get("MemTotal", 0) or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # no procfs: macOS
    cores, memory, free = [float(usable_cores())], [total], [machine.get("MemAvailable", total)]
    for group in _groups(proc / "self" / "cgroup", cgroups):
        quota = " ".join(_lines(group / "cpu.max")).split()  # version 2
        quota = quota or [*_lines(group / "cpu.cfs_quota_us"), *_lines(group / "cpu.cfs_period_us")]
        if len(quota) == 2 and quota[0] not in ("max", "-1"):
            cores.append(int(quota[0]) / int(quota[1]))
        for limit, usage, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most = "".join(_lines(group / limit))
            if most.isdigit() and int(most) < total:  # version 1 writes a huge number for none
                used = int("".join(_lines(group / usage)) or 0)
                caches = dict(line.split() for line in _lines(group / "memory.stat"))
                memory.append(int(most))
                free.append(int(most) - used + int(caches.get(cache, 0)))
    return Limits(cores=min(cores), memory=min(memory), free=max(0, min(free)))


def _groups(path: Path, cgroups: Path) -> Iterator[Path]:
    """The folders of a process's cgroups and of those above them. In a container its own may be mounted as the root,
    under which the path that procfs names does not exist.
    """
    for line in _lines(path):
        _, controllers, name = line.split(":", 2)
        for controller in controllers.split(",") if controllers else [""]:
            if controller in ("", "cpu", "memory"):
                root, own = cgroups / controller, Path(name.lstrip("/"))
                yield from (root / above for above in [own, *own.parents])


def _lines(path: Path) -> list[str]:
    """The lines of a file; none if there is no such file."""
    with contextlib.suppress(OSError):
        return path.read_text().splitlines()
    return []
