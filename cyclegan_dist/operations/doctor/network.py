"""Can the nodes exchange gradients, and how fast: a real all-reduce between every two of them and among all."""

import fcntl
import os
import socket
import statistics
import struct
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

SMALL, LARGE = 4, 16 << 20  # bytes
TRIES_SMALL, TRIES_LARGE = 20, 3
LONGEST = 160  # characters of what torch says of a failure; more is of no use in a table
SIOCGIFADDR = 0x8915


@dataclass(frozen=True, kw_only=True)
class Group:
    """One rank's place in a group that measures.

    Attributes:
        backend: gloo or nccl.
        rank: of this process.
        size: ranks.
        address: that rank 0 is reached at, as Ray Train would have it.
        port: free on rank 0's node.
        timeout_s: seconds that any exchange may take.
    """

    backend: str
    rank: int
    size: int
    address: str
    port: int
    timeout_s: float


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured: seconds of an all-reduce of four bytes, and bytes that pass a link of it each second."""

    latency_s: float
    bytes_per_s: float


def exchange(group: Group) -> Speed:
    """Join the group, all-reduce small and large tensors, and leave. All ranks must call it at once.

    Raises:
        ConnectionError: in one line, if the ranks do not come together.
    """
    import torch.distributed as torch_dist  # a node without GPUs answers other questions before it has loaded torch

    where, step = f"tcp://{group.address}:{group.port}", "meeting at"
    try:
        torch_dist.init_process_group(
            group.backend,
            init_method=where,
            rank=group.rank,
            world_size=group.size,
            timeout=timedelta(seconds=group.timeout_s),
        )
        step = "an all-reduce after meeting at"
        return _measure(group)
    except (RuntimeError, ValueError) as error:  # torch's errors of a network are RuntimeErrors
        reason = str(error).strip().splitlines()[0][:LONGEST]
        raise ConnectionError(f"rank {group.rank} failed at {step} {where}: {reason}") from error
    finally:
        if torch_dist.is_initialized():
            torch_dist.destroy_process_group()


def _measure(group: Group) -> Speed:
    import torch

    device = "cuda" if group.backend == "nccl" else "cpu"
    small, large = (torch.ones(count // 4, device=device) for count in (SMALL, LARGE))
    latency_s = statistics.median(_times(small, TRIES_SMALL))
    # Each link carries 2 (n - 1) / n of the tensor in a ring; as nccl-tests count "bus bandwidth".
    share = 2 * (group.size - 1) / group.size
    return Speed(latency_s=latency_s, bytes_per_s=share * LARGE / min(_times(large, TRIES_LARGE)))


def _times(tensor: Any, tries: int) -> list[float]:
    import torch
    import torch.distributed as torch_dist

    seconds = []
    for _ in range(tries + 1):
        began = time.perf_counter()
        torch_dist.all_reduce(tensor)
        if tensor.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]  # the first makes the connection


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True, kw_only=True)
class Names:
    """How a node finds itself, which gloo and NCCL go by.

    Attributes:
        host: its name.
        resolved: the address that the name has, or empty.
        interfaces: its IPv4 addresses by interface.
        gloo: GLOO_SOCKET_IFNAME.
        nccl: NCCL_SOCKET_IFNAME.
    """

    host: str
    resolved: str
    interfaces: dict[str, str]
    gloo: str
    nccl: str

    @property
    def absent_gloo(self) -> str:
        """An interface that GLOO_SOCKET_IFNAME names and the node has not, or nothing."""
        return next((name for name in self.gloo.split(",") if name and name not in self.interfaces), "")

    @property
    def absent_nccl(self) -> str:
        """What NCCL_SOCKET_IFNAME names and the node has not, or nothing. NCCL takes beginnings of names, `=` before
        whole ones, and `^` before those that are not meant.
        """
        if self.nccl.startswith("^"):
            return ""
        wanted = [name for name in self.nccl.removeprefix("=").split(",") if name]
        fits = str.__eq__ if self.nccl.startswith("=") else str.startswith
        return self.nccl if wanted and not any(fits(i, w) for i in self.interfaces for w in wanted) else ""


def names_here() -> Names:
    """As the processes of a training on this node would find themselves."""
    host = socket.gethostname()
    try:
        resolved = socket.gethostbyname(host)
    except OSError:
        resolved = ""
    settings = {key: os.environ.get(f"{key.upper()}_SOCKET_IFNAME", "") for key in ("gloo", "nccl")}
    return Names(host=host, resolved=resolved, interfaces=_interfaces(), **settings)


def _interfaces() -> dict[str, str]:
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # it has no IPv4 address
                continue
            found[name] = socket.inet_ntoa(answer[20:24])
    return found
