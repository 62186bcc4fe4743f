"""The kernels compile for GPUs, which interpreting them does not show, and fit into registers."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from cyclegan_dist.networks import fused
from cyclegan_dist.networks.build import build_discriminator, build_generator
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig
from tests.networks.kernels import imported, resources


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[list[tuple[Any, ...]]]:
    """Kernels that networks on the meta device launch, with arguments: real shapes without their memory."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)  # which does not know the meta device
    seen: list[tuple[Any, ...]] = []
    with imported("meta", interpret=False) as modules:
        for module in modules:
            monkeypatch.setattr(
                module,
                "launch",
                lambda kernel, grid, *arguments, **constants: seen.append((kernel, arguments, constants)),
            )
        yield seen


def run(network: nn.Module, batch: int, size: int, dtype: torch.dtype = torch.bfloat16) -> None:
    fused.use_fused_layers(network.to(dtype))
    network(torch.empty(batch, 3, size, size, device="meta", dtype=dtype, requires_grad=True)).sum().backward()


def compiled(launches: list[tuple[Any, ...]], capability: int, *, sizes: bool) -> dict[tuple[Any, ...], str]:
    """What the kernels need, by name, kinds of arguments and constants: all constants, or not those of `sizes`."""
    different = {}
    for kernel, arguments, constants in launches:
        kinds = tuple(a.dtype if isinstance(a, torch.Tensor) else None if a is None else type(a) for a in arguments)
        fixed = {name: value for name, value in constants.items() if sizes or name in ("MODE", "WAYS", "TANH")}
        different[kernel.fn.__name__, kinds, *fixed.items()] = kernel, arguments, constants
    return {key: resources(*launch, capability=capability) for key, launch in different.items()}


def test_kernels_of_the_papers_networks_compile_without_spilling_registers(launches) -> None:
    with torch.device("meta"):
        run(build_generator(3, 3, GeneratorConfig(n_blocks=2), InitConfig()), 2, 256)
    found = compiled(launches, 90, sizes=False)
    assert len({name for name, *_ in found}) == 8  # all kernels that there are
    assert not [(key, text) for key, text in found.items() if "STACK:0 " not in text]


@pytest.mark.long
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("by_rows", [False, True])
def test_kernels_of_all_networks_and_batches_compile(launches, capability, dtype, by_rows, monkeypatch) -> None:
    monkeypatch.setattr(fused, "NARROW_BY_ROWS", by_rows)
    with torch.device("meta"):
        for batch, size in ((1, 256), (2, 256), (32, 256), (128, 512)):
            run(build_discriminator(3, DiscriminatorConfig(), InitConfig()), batch, size, dtype)
            run(build_discriminator(3, DiscriminatorConfig(arch="pixel"), InitConfig()), batch, size, dtype)
            run(build_generator(3, 3, GeneratorConfig(arch="unet"), InitConfig()), batch, size, dtype)
            for padding in ("reflect", "replicate", "zero"):
                config = GeneratorConfig(n_blocks=2, padding=padding)
                run(build_generator(3, 3, config, InitConfig()), batch, size, dtype)
    found = compiled(launches, capability, sizes=True)
    assert not [(key, text) for key, text in found.items() if "STACK:0 " not in text]
