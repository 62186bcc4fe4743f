"""Average of gradients over ranks as one tensor per player, where DistributedDataParallel cannot be used: in a CUDA
graph, and with parameters that get no gradient.
"""

import itertools
from collections.abc import Iterable

import torch
import torch.distributed as torch_dist
from torch import Tensor, nn

from cyclegan_dist.step.distributed import World


class GradientExchange:
    """The gradients of `parameters`, averaged over all ranks. Each update calls `pack`, `start`, `wait`, in this order;
    other work of the device may come between `start` and `wait`.

    All ranks must get gradients for the same parameters, and for the same ones in each update.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], world: World):
        self._parameters, self._world = list(parameters), world
        self._flat = torch.empty(0)
        self._views: list[tuple[nn.Parameter, Tensor]] = []
        self._work: torch_dist.Work | None = None

    @property
    def on_device(self) -> bool:
        """Whether the exchange is work of the GPU, which a CUDA graph can contain."""
        return torch_dist.get_backend(self._world.group) == "nccl"

    def pack(self) -> None:
        """Copy the gradients of this rank into one tensor, divided by the number of ranks."""
        if not self._views:
            used = [p for p in self._parameters if p.grad is not None]
            self._flat = torch.empty(sum(p.numel() for p in used), dtype=used[0].dtype, device=used[0].device)
            starts = itertools.accumulate((p.numel() for p in used), initial=0)
            # With the parameter's strides, so that fused Adam reads both in one order.
            self._views = [
                (p, self._flat.as_strided(p.shape, p.stride(), start)) for p, start in zip(used, starts, strict=False)
            ]
        for parameter, view in self._views:
            assert parameter.grad is not None
            view.copy_(parameter.grad)
        self._flat.div_(self._world.size)

    def start(self) -> None:
        """Start the exchange."""
        self._work = torch_dist.all_reduce(self._flat, group=self._world.group, async_op=True)

    def wait(self) -> None:
        """Wait for the exchange: the following work of the device sees the mean gradients."""
        assert self._work is not None
        self._work.wait()

    def unpack(self) -> None:
        """Make the means the gradients of the parameters."""
        for parameter, view in self._views:
            parameter.grad = view


def broadcast_weights(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Give all ranks the weights of rank 0."""
    with torch.no_grad():
        for parameter in parameters:
            weights = parameter.contiguous()
            torch_dist.broadcast(weights, 0, group=world.group)
            parameter.copy_(weights)
