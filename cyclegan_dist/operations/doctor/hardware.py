"""GPUs and shared memory of the nodes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.footprint import Values, loader_bytes
from cyclegan_dist.operations.doctor.nodes import Node, listed, max_ranks
from cyclegan_dist.operations.doctor.report import Report
from cyclegan_dist.tracking.quantities import size

QUERY = ("name", "driver_version", "memory.total", "memory.used")
BUSY_MIB = 1024  # more than the driver itself takes on an idle GPU
TORCH = "import json, torch; print(json.dumps([torch.cuda.is_available(), torch.cuda.device_count()]))"
SHM = "/dev/shm"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as nvidia-smi lists it; memory in MiB."""

    name: str
    driver: str
    memory: int
    used: int


def gpus_here() -> tuple[list[Gpu], int]:
    """All GPUs of the driver, and how many of them torch can use; regardless of CUDA_VISIBLE_DEVICES, which Ray sets
    for this process.
    """
    if shutil.which("nvidia-smi") is None:
        return [], 0
    query = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    smi = subprocess.run(query, capture_output=True, text=True, timeout=20)
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    torch = subprocess.run([sys.executable, "-c", TORCH], env=environment, capture_output=True, text=True, timeout=30)
    usable, count = json.loads(torch.stdout) if torch.returncode == 0 else (False, 0)
    return parse_gpus(smi.stdout) if smi.returncode == 0 else [], count if usable else 0


def parse_gpus(text: str) -> list[Gpu]:
    """Parse nvidia-smi's output for `QUERY`; memory is 0 where it prints [N/A], as on machines with unified memory."""
    rows = [[part.strip() for part in line.split(",")] for line in text.splitlines() if line.count(",") == 3]
    mib = [[int(part) if part.isdigit() else 0 for part in row[2:]] for row in rows]
    return [Gpu(name=n, driver=d, memory=m, used=u) for (n, d, *_), (m, u) in zip(rows, mib, strict=True)]


def check_gpus(report: Report, nodes: list[Node], answers: Mapping[str, tuple[list[Gpu], int]], config: Config) -> None:
    """Check that GPUs are present, alike and free, and that torch and Ray can use all of them."""
    for node in nodes:
        gpus, seen = answers.get(node.name, ([], 0))
        if seen < len(gpus):
            found = f"{node.name}: torch sees {seen} of {len(gpus)} GPUs"
            report.add("red", found, "Install a torch whose CUDA version the driver supports.")
        elif node.gpus < len(gpus):
            found = f"{node.name}: Ray gives ranks {node.gpus} of {len(gpus)} GPUs"
            report.add("yellow", found, "Start the node with a higher --num-gpus to use the others.")
        if busy := [gpu.used for gpu in gpus if gpu.used > BUSY_MIB]:
            found = f"{node.name}: {len(busy)} GPUs in use, up to {max(busy)} MiB"
            report.add("yellow", found, "Look with nvidia-smi for the processes that use them.")
    every = [gpu for gpus, _ in answers.values() for gpu in gpus]
    kinds = sorted({f"{gpu.name}, {gpu.memory} MiB, driver {gpu.driver}" for gpu in every})
    if len(kinds) > 1:
        advice = "All ranks wait for the slowest: use one kind of GPU, and one driver."
        report.add("yellow", f"different GPUs: {'; '.join(kinds)}", advice)
    if not every and config.world.device == "cuda":
        report.add("red", "no node has one, and world.device is cuda", "Add GPU nodes, or set --world.device auto.")
    found = f"{len(every)} x {listed(kinds)}" if every else f"none; {sum(node.cpus for node in nodes)} CPU cores"
    report.ok(found, {name: [asdict(gpu) for gpu in gpus] for name, (gpus, _) in answers.items()})


def shared_memory_here() -> tuple[int, int]:
    """Free and total bytes of shared memory."""
    usage = shutil.disk_usage(SHM)
    return usage.free, usage.total


def check_shared_memory(
    report: Report, nodes: list[Node], answers: Mapping[str, tuple[int, int]], config: Config, values: Values
) -> None:
    """Check that shared memory has room for the batches that loaders pass through it, images of domains with one of
    `values` as float32.
    """
    ranks = max_ranks(config, nodes)
    here = -(-ranks // len(nodes))  # ranks of a node, spread evenly
    need = here * loader_bytes(config, ranks, values)
    for name, (free, total) in answers.items():
        if free < 2 * need:
            found = f"{name}: {size(free)} of {size(total)} are free in {SHM}, loaders need {size(need)}"
            advice = "Give the container more (docker --shm-size, an emptyDir in memory), or lower data.workers."
            report.add("red" if free < need else "yellow", found, advice)
    least = min((free for free, _ in answers.values()), default=0)
    found = f"{size(least)} free, loaders need {size(need)} on a node of {here} rank{'s' * (here > 1)}"
    report.ok(found, {"free": least, "need": need})
