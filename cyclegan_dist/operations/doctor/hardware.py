"""What every node has: GPUs, shared memory, open files."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.config import PREFETCH
from cyclegan_dist.operations.doctor.findings import Finding, Level, size
from cyclegan_dist.operations.doctor.fleet import Fleet, Node, answered, everywhere, names_of, once_per_host, ranks_of

GPUS, MEMORY, FILES = "GPUs", "shared memory", "open files"
QUERY = ("name", "driver_version", "memory.total", "memory.used")
BUSY_MIB = 1024  # more than the driver itself keeps of a GPU that nobody uses
TORCH = "import json, torch; print(json.dumps([torch.cuda.is_available(), torch.cuda.device_count()]))"
SHM = "/dev/shm"
# Ray remarks on fewer than 8192; 1024 is what many systems give, and loaders of several ranks reach it.
YELLOW_FILES, RED_FILES = 8192, 1024
SILENT = "See what keeps the node from answering: ray status, and its logs."


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as the driver shows it; memory in MiB."""

    name: str
    driver: str
    memory: int
    used: int


def gpus_here() -> tuple[list[Gpu], int]:
    """The driver's GPUs, and how many of them torch can use, whatever this process was given of them."""
    if shutil.which("nvidia-smi") is None:
        return [], 0
    command = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    gpus = parse_gpus(answer.stdout) if answer.returncode == 0 else []
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    seen = subprocess.run([sys.executable, "-c", TORCH], env=environment, capture_output=True, text=True, timeout=60)
    usable, count = json.loads(seen.stdout) if seen.returncode == 0 else (False, 0)
    return gpus, count if usable else 0


def parse_gpus(text: str) -> list[Gpu]:
    """What nvidia-smi prints for `QUERY`."""
    rows = [[part.strip() for part in line.split(",")] for line in text.splitlines() if line.count(",") == 3]
    number = lambda part: int(part) if part.isdigit() else 0  # noqa: E731 - "[N/A]" where memory is the host's
    return [Gpu(name=n, driver=d, memory=number(total), used=number(used)) for n, d, total, used in rows]


def check_gpus(fleet: Fleet, config: Config) -> list[Finding]:
    """Alike, free, seen by torch and given to Ray."""
    answers, findings = answered(GPUS, everywhere(fleet, gpus_here), "See whether nvidia-smi answers on the node.")
    for node in fleet.nodes:
        if node.name in answers:
            findings += judge_gpus(node, *answers[node.name])
    every = [gpu for gpus, _ in answers.values() for gpu in gpus]
    kinds = {(gpu.name, gpu.memory) for gpu in every}
    if len(kinds) > 1:
        found = "unlike: " + names_of(sorted(f"{name} {memory} MiB" for name, memory in kinds))
        findings.append(
            Finding(check=GPUS, level="yellow", found=found, advice="All ranks wait for the slowest; use one kind.")
        )
    drivers = sorted({gpu.driver for gpu in every})
    if len(drivers) > 1:
        found = f"drivers {names_of(drivers)}"
        findings.append(Finding(check=GPUS, level="yellow", found=found, advice="Install one driver on all nodes."))
    if not every and config.world.device == "cuda":
        found = "none on any node, and world.device is cuda"
        findings.append(Finding(check=GPUS, level="red", found=found, advice="Add GPU nodes, or --world.device auto."))
    return findings or [_all_well(answers, fleet.nodes)]


def _all_well(answers: dict[str, tuple[list[Gpu], int]], nodes: list[Node]) -> Finding:
    every = [gpu for gpus, _ in answers.values() for gpu in gpus]
    figures: dict[str, Any] = {name: [asdict(gpu) for gpu in gpus] for name, (gpus, _) in answers.items()}
    if not every:
        found = f"none; {sum(node.cpus for node in nodes)} CPU cores"
        return Finding(check=GPUS, level="green", found=found, figures=figures)
    gpu = every[0]
    found = f"{len(every)} x {gpu.name}, {gpu.memory} MiB, driver {gpu.driver}, on {len(answers)} nodes"
    return Finding(check=GPUS, level="green", found=found, figures=figures)


def judge_gpus(node: Node, gpus: list[Gpu], seen: int) -> list[Finding]:
    """What is wrong with the GPUs of one node."""
    findings: list[Finding] = []

    def add(level: Level, found: str, advice: str) -> None:
        findings.append(Finding(check=GPUS, level=level, found=f"{node.name}: {found}", advice=advice))

    if seen < len(gpus):
        add("red", f"torch sees {seen} of {len(gpus)} GPUs", "Install a torch whose CUDA the driver can run.")
    elif node.gpus < len(gpus):
        found = f"{node.gpus} of {len(gpus)} GPUs are given to ranks"
        add("yellow", found, "Start the node with --num-gpus, if the others are meant too.")
    busy = [gpu for gpu in gpus if gpu.used > BUSY_MIB]
    if busy:
        found = f"{len(busy)} GPUs in use, up to {max(gpu.used for gpu in busy)} MiB"
        add("yellow", found, "See with nvidia-smi whose processes they are.")
    return findings


def memory_here() -> tuple[int, int]:
    """Free and all bytes of shared memory."""
    there = os.statvfs(SHM)
    return there.f_bavail * there.f_frsize, there.f_blocks * there.f_frsize


def check_memory(fleet: Fleet, config: Config) -> list[Finding]:
    """Room for the batches that loaders hand over through shared memory."""
    ranks = ranks_of(config, fleet.nodes)
    need = loaders_need(config, ranks)
    hosts = once_per_host(fleet)
    answers, findings = answered(MEMORY, fleet.ask({name: (memory_here, ()) for name in hosts}), SILENT)
    there = -(-ranks // len(hosts))  # ranks of one host, if they are spread evenly
    for name, (free, total) in answers.items():
        findings += judge_memory(name, free, total, there * need)
    if findings:
        return findings
    least = min(free for free, _ in answers.values())
    many = f"{there} ranks" if there > 1 else "one rank"
    found = f"{size(least)} free; loaders need {size(there * need) if need else 'none'} on a host of {many}"
    return [Finding(check=MEMORY, level="green", found=found, figures={"free": least, "need": there * need})]


def loaders_need(config: Config, ranks: int) -> int:
    """Bytes of the batches that one rank's loader keeps ready: uint8, both domains, and the one in use."""
    side = config.data.crop_size if "crop" in config.data.preprocess else config.data.load_size
    images = config.optim.micro_batch or -(-config.optim.batch_size // ranks)
    batch = images * side * side * sum(config.method.channels.values())
    return (config.data.workers * PREFETCH + 1) * batch if config.data.workers else 0


def judge_memory(name: str, free: int, total: int, need: int) -> list[Finding]:
    """What is wrong with a host's shared memory, if something is."""
    if free >= 2 * need:
        return []
    found = f"{name}: {size(free)} of {size(total)} free in {SHM}, loaders need {size(need)}"
    advice = "Give the container more (docker --shm-size, an emptyDir in memory), or lower data.workers."
    return [Finding(check=MEMORY, level="red" if free < need else "yellow", found=found, advice=advice)]


def files_here() -> int:
    """Files that this process may open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def check_files(fleet: Fleet) -> list[Finding]:
    """Room for the files and sockets of Ray and of loaders."""
    answers, findings = answered(FILES, everywhere(fleet, files_here), SILENT)
    findings += [finding for name, limit in answers.items() for finding in judge_files(name, limit)]
    return findings or [_least(answers.values())]


def _least(limits: Iterable[int]) -> Finding:
    least = min(limits)
    found = "no limit" if least < 0 else f"{least} for a process"
    return Finding(check=FILES, level="green", found=found, figures={"limit": least})


def judge_files(name: str, limit: int) -> list[Finding]:
    """What is wrong with a limit of open files, if something is."""
    if limit == resource.RLIM_INFINITY or limit >= YELLOW_FILES:
        return []
    level: Level = "red" if limit < RED_FILES else "yellow"
    advice = "Raise it where the node is started: ulimit -n 65536, or LimitNOFILE of its service."
    return [Finding(check=FILES, level=level, found=f"{name}: {limit} for a process", advice=advice)]
