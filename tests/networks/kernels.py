"""Triton kernels without a GPU: interpreted on CPU tensors, or compiled but not run."""

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cyclegan_dist.networks
from cyclegan_dist.networks import fused

OURS = [f"cyclegan_dist.networks.{name}" for name in ("norm_ops", "pad_ops", "norm_kernels", "pad_kernels")]


@contextmanager
def imported(device: str, *, interpret: bool) -> Iterator[tuple[ModuleType, ModuleType]]:
    """`norm_ops` and `pad_ops`, imported anew: Triton decides while it is imported whether it interprets kernels.

    Meanwhile networks run fused on `device`.
    """

    def taken() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.split(".")[0] == "triton" or name in OURS]
        return {name: sys.modules.pop(name) for name in names if not name.startswith("triton._C")}  # loads only once

    before = taken()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", str(int(interpret)))
        patch.setattr(fused, "DEVICES", {device})
        if interpret:
            _round_to_nearest(patch)
        try:
            yield importlib.import_module(OURS[0]), importlib.import_module(OURS[1])
        finally:
            taken()
            for name in OURS:
                vars(cyclegan_dist.networks).pop(name.split(".")[-1], None)
            sys.modules.update(before)


def _round_to_nearest(patch: pytest.MonkeyPatch) -> None:
    """Round to bfloat16 as GPUs do; the interpreter truncates."""
    interpreter = importlib.import_module("triton.runtime.interpreter")
    convert = interpreter._convert_float

    def nearest(x: np.ndarray, old: Any, new: Any, mode: Any) -> np.ndarray:
        if new.name != "bf16":
            return convert(x, old, new, mode)
        bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)

    patch.setattr(interpreter, "_convert_float", nearest)


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest deviation, as a share of the largest value."""
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


def values_and_gradients(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The output for `x`, and the gradients of a weighted sum of it; the weights are in NHWC."""
    x = x.detach().clone().requires_grad_()
    y = network(x)
    n, channels, height, width = y.shape
    y.backward(torch.arange(y.numel()).cos().to(y).view(n, height, width, channels).permute(0, 3, 1, 2))
    assert x.grad is not None
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {"output": y.detach(), "input": x.grad, **gradients}


def resources(kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any], capability: int) -> str:
    """Registers and memory that a kernel needs, as `cuobjdump` prints them, compiled as a launch would compile it."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, attributes = {}, {}
    known = dict(constants)
    for place, name in enumerate(kernel.arg_names):
        value = known.get(name, arguments[place] if place < len(arguments) else None)
        if isinstance(value, Tensor):
            signature[name] = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}[value.dtype]
            attributes[place,] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        elif isinstance(value, int) and name not in constants and (value != 1 or name in kernel.do_not_specialize):
            signature[name] = "i32"
            if value % 16 == 0 and name not in kernel.do_not_specialize:
                attributes[place,] = [["tt.divisibility", 16]]
        else:
            signature[name], known[name] = "constexpr", value
    source = ASTSource(kernel, signature, known, attributes)
    cubin = triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
