"""A recording of work on a CPU that is replayed as a CUDA graph is: the same operations on the same tensors.

What a CUDA graph forbids or freezes shows here as well: a value that Python reads is an error, a number that Python
computed is constant, and a tensor that was allocated while recording keeps its place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)


class _Operations(TorchDispatchMode):
    """The operations done, and what the tensors that they changed contained before."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.changed: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in READS, f"{func} reads a value of the device"
        kwargs = kwargs or {}
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for x in tree_leaves(value):
                    self.changed.setdefault(id(x), (x, x.detach().clone()))
        result = func(*args, **kwargs)
        self.done.append((func, args, kwargs, result))
        return result


class CpuRecording:
    """Records and replays, like `CudaRecording`. Unlike a GPU, a CPU does the work while it records; this is undone.

    Attributes:
        made: number of recordings since the start.
    """

    made = 0

    def __init__(self) -> None:
        CpuRecording.made += 1
        self._operations = _Operations()

    @contextmanager
    def recording(self) -> Iterator[None]:
        rng = torch.get_rng_state()
        with self._operations:
            yield
        with torch.no_grad():
            for tensor, before in reversed(self._operations.changed.values()):
                tensor.copy_(before)
        torch.set_rng_state(rng)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, recorded in self._operations.done:
            if func.is_view:
                continue  # it still shows the same memory
            result = func(*args, **kwargs)
            for old, new in zip(tree_leaves(recorded), tree_leaves(result), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class DeviceCheck:
    """A recording on the meta device that only refuses work on another device, which a CUDA graph would not contain."""

    class _Meta(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert func not in READS, f"{func} reads a value of the device"
            result = func(*args, **(kwargs or {}))
            for x in tree_leaves((args, kwargs, result)):
                assert not isinstance(x, Tensor) or x.device.type == "meta", f"{func} works on the {x.device.type}"
            return result

    def recording(self) -> TorchDispatchMode:
        return self._Meta()

    def replay(self) -> None:
        """There is nothing to do on the meta device."""
