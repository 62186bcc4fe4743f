"""Measurement of an all-reduce of gloo or NCCL between nodes."""

import os
import socket
import statistics
import time
from dataclasses import dataclass
from datetime import timedelta

SMALL, LARGE = 4, 16 << 20  # bytes
REPEATS_SMALL, REPEATS_LARGE = 20, 3
LONGEST = 160  # characters of an error of torch, which may have thousands


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds of an all-reduce of four bytes, and bytes per second on each link during one of `LARGE`."""

    latency_s: float
    bytes_per_s: float

    def __str__(self) -> str:
        return f"{8e-9 * self.bytes_per_s:.3g} Gbit/s, {1e3 * self.latency_s:.2f} ms"


def exchange(backend: str, address: str, rank: int, size: int, timeout_s: float) -> Speed:
    """Join a process group at rank 0's `address`, HOST:PORT, measure all-reduces, and leave. All ranks must call it at
    the same time.

    Raises:
        ConnectionError: if the group does not form or breaks.
    """
    import torch
    import torch.distributed as dist

    step = "joining"
    device = "cuda" if backend == "nccl" else "cpu"
    seconds: dict[int, list[float]] = {SMALL: [], LARGE: []}
    try:
        dist.init_process_group(
            backend, f"tcp://{address}", timeout=timedelta(seconds=timeout_s), world_size=size, rank=rank
        )
        step = "an all-reduce after joining"
        for count, repeats in ((SMALL, REPEATS_SMALL), (LARGE, REPEATS_LARGE)):
            tensor = torch.ones(count // 4, device=device)
            for _ in range(repeats + 1):
                began = time.perf_counter()
                dist.all_reduce(tensor)
                if tensor.is_cuda:
                    torch.cuda.synchronize()
                seconds[count].append(time.perf_counter() - began)
    except (RuntimeError, ValueError) as error:  # torch raises RuntimeErrors for network errors
        reason = str(error).strip().splitlines()[0][:LONGEST]
        raise ConnectionError(f"rank {rank} failed at {step} {address}: {reason}") from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    # The first all-reduce opens connections. Each link of a ring carries 2 (n - 1) / n of the tensor ("bus bandwidth").
    share = 2 * (size - 1) / size
    return Speed(latency_s=statistics.median(seconds[SMALL][1:]), bytes_per_s=share * LARGE / min(seconds[LARGE][1:]))


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def announced_here() -> str:
    """The interface or address that gloo announces to the other nodes, as this process and a training here do."""
    if interface := os.environ.get("GLOO_SOCKET_IFNAME"):
        return f"GLOO_SOCKET_IFNAME={interface}"
    host = socket.gethostname()
    try:
        return f"{host} ({socket.gethostbyname(host)})"
    except OSError:
        return f"{host} (no address)"
