"""Tests of padding and cropping, interpreted on a CPU, against the layers of torch.nn."""

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.networks.kernels import imported, relative

NHWC = torch.channels_last
PADS = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "zero": nn.ZeroPad2d}


@pytest.fixture(scope="module")
def ops() -> Iterator[ModuleType]:
    with imported("cpu", interpret=True) as (_, pad_ops):
        yield pad_ops


def weights(y: Tensor) -> Tensor:
    return torch.arange(y.numel()).cos().view(y.shape).to(y)


@pytest.mark.parametrize(("mode", "padding"), [("reflect", 3), ("replicate", 2), ("zero", 1), ("zero", 0)])
@pytest.mark.parametrize(("channels", "shifts"), [(9, 1), (3, 3)])
def test_padding_of_images_equals_the_layers(ops, mode, padding, channels, shifts) -> None:
    found = []
    for double in (False, True):
        x = torch.randn(2, channels, 5, 6, generator=torch.Generator().manual_seed(0))  # not in NHWC
        x = (x.double() if double else x).requires_grad_()
        if double:
            padded = PADS[mode](padding)(x)
            wide = padded.shape[3] - shifts + 1
            y = torch.cat([padded[..., s : s + wide] for s in range(shifts)], 1)
            y = F.pad(y, (0, 0, 0, 0, 0, -y.shape[1] % 8))
        else:
            y = ops.pad(x, padding, mode, multiple=8, shifts=shifts)
            assert y.is_contiguous(memory_format=NHWC) and y.shape[1] % 8 == 0
        found.append([y, *torch.autograd.grad(y, x, weights(y))])
    assert max(relative(mine, its) for mine, its in zip(*found, strict=True)) < 1e-6


def test_padding_casts_to_the_type_of_autocast_and_back(ops) -> None:
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = ops.pad(x, 1, "reflect")
    assert y.dtype == torch.bfloat16
    y.backward(torch.ones_like(y))
    assert x.grad is not None and x.grad.dtype == torch.float32


@pytest.mark.parametrize("tanh", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("layout", [NHWC, torch.contiguous_format])
def test_cropping_equals_slices_of_channels(ops, tanh, rows, layout) -> None:
    found = []
    for double in (False, True):
        x = torch.randn(2, 8, 6, 5, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=NHWC)
        x = (x.double() if double else x).requires_grad_()
        if double:
            height = x.shape[2] - rows + 1
            y = sum(x[:, r : 2 * rows : rows, r : r + height] for r in range(rows))
            assert isinstance(y, Tensor)
            y = y.tanh() if tanh else y
        else:
            y = ops.crop(x, 2, tanh=tanh, rows=rows)
            assert y.is_contiguous(memory_format=NHWC)
        weigh = weights(y).contiguous(memory_format=layout)
        found.append([y, *torch.autograd.grad(y, x, weigh)])
    assert max(relative(mine, its) for mine, its in zip(*found, strict=True)) < 1e-6


def test_images_too_small_for_a_reflection_are_refused(ops) -> None:
    with pytest.raises(ValueError, match="reflection by 3 needs larger images than"):
        ops.pad(torch.zeros(1, 2, 8, 3), 3, "reflect")
