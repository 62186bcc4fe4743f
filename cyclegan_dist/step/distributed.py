"""The group of ranks that train together: rank, size, and the few exchanges that training needs.

Works under Ray Train, under torchrun and in a single process: the first two set RANK, LOCAL_RANK and WORLD_SIZE, and
Ray has already initialised the group. Only torch is used.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import Tensor

from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.world_config import MPS, NO_MPS, Device

SETTING_UP = 10  # factor of the timeout during set-up, when ranks load, compile and read manifests


@dataclass(frozen=True)
class World:
    """The group of ranks, from the view of one of them."""

    rank: int
    size: int
    device: torch.device
    group: torch_dist.ProcessGroup | None = None  # None: the default group

    def side_channel(self) -> "World":
        """The same ranks with a group of their own, for a thread that exchanges small values during training. All ranks
        must call it.
        """
        if self.size == 1:
            return self
        # Ranks in reserve, if there are any, do not take part.
        group = torch_dist.new_group(list(range(self.size)), backend="gloo", use_local_synchronization=True)
        return World(self.rank, self.size, torch.device("cpu"), group)  # pyright: ignore[reportArgumentType]

    def subgroup(self, size: int) -> "World | None":
        """The first `size` ranks as a separate world; None on the other ranks. All ranks must call it."""
        if size == self.size:
            return self
        group = torch_dist.new_group(list(range(size)))
        return World(self.rank, size, self.device, group) if self.rank < size else None  # pyright: ignore

    def limit_waiting(self, timeout_s: float) -> None:
        """Set the timeout of all further exchanges."""
        if self.size > 1:
            # Before torch 2.14 the function had another name.
            older = torch_dist.distributed_c10d._set_pg_timeout  # pyright: ignore[reportPrivateUsage, reportDeprecated]
            set_timeout = getattr(torch_dist, "set_timeout", None) or older
            set_timeout(timedelta(seconds=timeout_s), self.group or torch_dist.group.WORLD)

    def address(self) -> str:
        """The address of this rank's connection to rank 0."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Connecting a datagram socket sends nothing, but selects the interface.
                probe.connect((os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "1"))))
            except OSError:
                return "unknown"
            return probe.getsockname()[0]

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def supervised(self) -> bool:
        """Whether a launcher started these ranks and would restart them."""
        return torch_dist.is_initialized()

    def mean(self, scalars: Mapping[str, Tensor | float]) -> dict[str, float]:
        """The mean of each named scalar over all ranks, in one exchange. All ranks must call it with the same names."""
        values = torch.stack([torch.as_tensor(v, dtype=torch.float64, device="cpu") for v in scalars.values()])
        if self.size > 1:
            values = values.to(self.device)
            torch_dist.all_reduce(values, group=self.group)
            values /= self.size
        return {name: float(value) for name, value in zip(scalars, values, strict=True)}

    def max(self, values: list[float]) -> list[float]:
        """The elementwise maximum over all ranks."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch_dist.all_reduce(tensor, op=torch_dist.ReduceOp.MAX, group=self.group)
        return [float(value) for value in tensor]

    def gather(self, value: Any) -> list[Any]:
        """`value` of every rank, in rank order, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch_dist.all_gather_object(values, value, group=self.group)
        return values

    def broadcast(self, value: Any) -> Any:
        """Rank 0's `value`, on every rank."""
        box = [value]
        if self.size > 1:
            torch_dist.broadcast_object_list(box, device=self.device, group=self.group)
        return box[0]


def join(device: Device = "auto", timeout_s: float = 30.0) -> World:
    """Join the group given by the environment, use the group that is already initialised, or return a world of one.

    Args:
        device: `auto` takes this rank's GPU if there is one.
        timeout_s: timeout in seconds of exchanges after the set-up. It is ten times as long until
            `World.limit_waiting` is called.

    Raises:
        UsageError: for `cuda` without a GPU, and for an Apple GPU.
    """
    where = _device(device)
    if not torch_dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        backend = "nccl" if where.type == "cuda" else "gloo"
        torch_dist.init_process_group(backend, timeout=timedelta(seconds=SETTING_UP * timeout_s))
    if torch_dist.is_initialized():
        return World(torch_dist.get_rank(), torch_dist.get_world_size(), where)
    return World(0, 1, where)


def leave() -> None:
    """Leave the group, if one was joined."""
    if torch_dist.is_initialized():
        torch_dist.destroy_process_group()


def _device(device: str) -> torch.device:
    if device == MPS:
        raise UsageError(f"device {MPS} cannot be used: {NO_MPS}")
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError("world.device cuda: torch finds no GPU here; give --world.device cpu, or install a driver")
    gpu = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(gpu)
    return gpu
