import os
from pathlib import Path

import pytest

from cyclegan_dist.operations.doctor.limits import limits_here

GIB = 2**30
CORES = len(os.sched_getaffinity(0))


def machine(root: Path, cgroup: str, files: dict[str, str]) -> tuple[Path, Path]:
    """procfs and cgroups of a machine with 16 GiB, of which 12 GiB are available."""
    proc, cgroups = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: {16 << 20} kB\nMemFree: 1 kB\nMemAvailable: {12 << 20} kB\n")
    (proc / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(text + "\n")
    return proc, cgroups


STAT = f"anon 1\ninactive_file {GIB}"
V2 = {"memory.max": str(4 * GIB), "memory.current": str(3 * GIB), "memory.stat": STAT, "cpu.max": "50000 100000"}
V1 = {
    "memory/memory.limit_in_bytes": str(4 * GIB),
    "memory/memory.usage_in_bytes": str(3 * GIB),
    "memory/memory.stat": f"inactive_file 5\ntotal_inactive_file {GIB}",
    "cpu/cpu.cfs_quota_us": "50000",
    "cpu/cpu.cfs_period_us": "100000",
}
NESTED = {"pod/" + name: text for name, text in V2.items()} | {
    "pod/ranks/memory.max": "max",
    "pod/ranks/cpu.max": "max 1",
}
NO_V1 = {"memory/memory.limit_in_bytes": "9223372036854771712", "cpu/cpu.cfs_quota_us": "-1"}


@pytest.mark.parametrize(
    ("cgroup", "files", "cores", "memory", "free"),
    [
        ("0::/\n", {}, CORES, 16, 12),
        ("0::/\n", V2, 0.5, 4, 2),  # the cache of files can be had
        ("0::/pod/ranks\n", NESTED, 0.5, 4, 2),  # the group above has the limit
        ("4:memory:/of/the/host\n2:cpu,cpuacct:/of/the/host\n", V1, 0.5, 4, 2),  # in a container it is the root
        ("4:memory:/\n2:cpu:/\n0::/\n", NO_V1, CORES, 16, 12),
        ("0::/\n", {"memory.max": str(64 * GIB)}, CORES, 16, 12),
    ],
)
def test_the_smallest_limit_counts(
    cgroup: str, files: dict[str, str], cores: float, memory: int, free: int, tmp_path: Path
) -> None:
    found = limits_here(*machine(tmp_path, cgroup, files))
    assert (found.cores, found.memory, found.free) == (cores, memory * GIB, free * GIB)


def test_without_procfs_all_memory_counts_as_free(tmp_path: Path) -> None:
    found, here = limits_here(tmp_path, tmp_path), limits_here(cgroups=tmp_path)
    assert found.cores == CORES and found.free == found.memory == pytest.approx(here.memory, rel=0.01)


def test_this_machine() -> None:
    found = limits_here()
    assert 0 < found.cores <= CORES and 0 < found.free <= found.memory
