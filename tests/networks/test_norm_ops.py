"""Tests of fused instance norm, interpreted on a CPU, against the layers of torch.nn."""

from collections.abc import Callable, Iterator
from itertools import product
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
    with imported("cpu", interpret=True) as (norm_ops, _):
        yield norm_ops


Compute = Callable[[Tensor, Tensor | None], list[Tensor]]  # from x and a residual to what is wanted of the results


def by_layers(want: str, slope: float, padding: int, mode: str) -> Compute:
    def compute(x: Tensor, residual: Tensor | None) -> list[Tensor]:
        plain = nn.Sequential(nn.InstanceNorm2d(x.shape[1]), nn.LeakyReLU(slope))(x)
        plain = plain if residual is None else plain + residual
        padded = PADS[mode](padding)(plain)
        return {"both": [plain, padded], "padded": [padded], "plain": [plain]}[want]

    return compute


def by_kernels(ops: ModuleType, want: str, slope: float, padding: int, mode: str) -> Compute:
    def compute(x: Tensor, residual: Tensor | None) -> list[Tensor]:
        options = {"slope": slope, "residual": residual, "padding": padding, "mode": mode}
        found = [ops.instance_norm(x, **options)] if want != "both" else [*ops.instance_norm_and_padded(x, **options)]
        assert all(y.is_contiguous(memory_format=NHWC) for y in found)
        return found

    return compute


def images(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (3 * values + 5).to(dtype).contiguous(memory_format=NHWC)


def outcome(compute: Compute, shape: tuple[int, ...], residual: bool, dtypes: tuple[torch.dtype, ...]) -> list[Tensor]:
    """Outputs and gradients, computed in the last of `dtypes` from what the others leave of the values."""
    inputs = [images(shape, 0), images(shape, 1)][: 1 + residual]
    for dtype in dtypes:
        inputs = [x.to(dtype) for x in inputs]
    inputs = [x.requires_grad_() for x in inputs]
    outputs = compute(inputs[0], inputs[1] if residual else None)
    weights = [images(tuple(y.shape), 2 + i, dtypes[0]).to(y.dtype) for i, y in enumerate(outputs)]
    return [*outputs, *torch.autograd.grad(outputs, inputs, weights)]


@pytest.mark.parametrize(
    ("shape", "slope", "residual", "padding", "mode", "want"),
    [
        *[((1, 3, 5, 4), 0.0, residual, 1, mode, "both") for residual, mode in product([False, True], PADS)],
        ((2, 5, 7, 6), 0.2, False, 3, "reflect", "padded"),
        ((1, 5, 4, 6), 0.2, True, 3, "reflect", "padded"),
        ((1, 4, 3, 3), 0.0, False, 2, "replicate", "padded"),
        ((1, 4, 1, 3), 1.0, True, 2, "zero", "padded"),
        ((2, 16, 6, 5), 1.0, True, 0, "zero", "plain"),
        ((2, 1, 6, 5), 0.2, False, 0, "zero", "plain"),
        ((1, 34, 4, 5), 0.0, True, 1, "reflect", "both"),  # several blocks of channels, the last not full
        ((1, 4, 17, 16), 0.0, True, 1, "reflect", "both"),  # several ranges of pixels, the last not full
    ],
)
def test_values_and_gradients_equal_those_of_the_layers(ops, shape, slope, residual, padding, mode, want) -> None:
    options = want, slope, padding, mode
    exact = outcome(by_layers(*options), shape, residual, (torch.float32, torch.float64))
    found = outcome(by_kernels(ops, *options), shape, residual, (torch.float32,))
    assert max(relative(mine, expected) for mine, expected in zip(found, exact, strict=True)) < 1e-6


@pytest.mark.parametrize(("want", "padding"), [("both", 1), ("plain", 0)])
def test_sixteen_bits_are_as_precise_as_in_the_layers(ops, want, padding) -> None:
    shape, options, low = (2, 8, 6, 6), (want, 0.0, padding, "reflect"), torch.bfloat16
    exact = outcome(by_layers(*options), shape, True, (low, torch.float64))
    theirs = outcome(by_layers(*options), shape, True, (low,))
    ours = outcome(by_kernels(ops, *options), shape, True, (low,))
    for mine, its, expected in zip(ours, theirs, exact, strict=True):
        assert relative(mine, expected) <= 1.1 * relative(its, expected)


def test_an_almost_constant_image_loses_no_precision(ops) -> None:
    """Only that of the mean, 1e-7 of it: a mean of squares minus a squared mean would have no correct digit."""
    x = (1000 + torch.randn(1, 2, 17, 16)).contiguous(memory_format=NHWC)
    assert relative(ops.instance_norm(x), nn.InstanceNorm2d(2)(x.double())) < 5e-5


def test_gradients_of_some_channels_of_a_wider_tensor_are_not_copied(ops, monkeypatch) -> None:
    """As from the concatenation of skip connections."""
    x = images((2, 4, 5, 6), 0).requires_grad_()
    wide = images((2, 12, 5, 6), 1)
    expected = torch.autograd.grad(F.instance_norm(x), x, wide[:, 4:8])
    y = ops.instance_norm(x)
    launched = []
    launch = ops.launch
    monkeypatch.setattr(ops, "launch", lambda *all, **constants: (launched.append(all), launch(*all, **constants)))
    torch.testing.assert_close(torch.autograd.grad(y, x, wide[:, 4:8]), expected)
    assert all(arguments[4].data_ptr() == wide[:, 4:8].data_ptr() for arguments in launched)


def test_impossible_sizes_and_second_derivatives_are_refused(ops) -> None:
    with pytest.raises(ValueError, match="more than one pixel"):
        ops.instance_norm(torch.zeros(1, 2, 1, 1))
    with pytest.raises(ValueError, match="reflection by 3 needs larger images than"):
        ops.instance_norm(torch.zeros(1, 2, 3, 8), padding=3)
    x = images((1, 2, 3, 3), 0).requires_grad_()
    (gradient,) = torch.autograd.grad(ops.instance_norm(x).pow(3).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("images", [1, 2, 8, 32, 128])
@pytest.mark.parametrize(
    ("pixels", "channels"), [(256**2, 64), (128**2, 128), (64**2, 256), (31**2, 512), (512**2, 64)]
)
@pytest.mark.parametrize("itemsize", [2, 4])
def test_programs_cover_all_pixels_and_occupy_a_gpu(ops, images, pixels, channels, itemsize) -> None:
    tiles = ops.tiling(images, pixels, channels, itemsize)
    ranges, blocks, n = tiles.grid
    assert n == images and ranges <= ops.MAX_SPLITS
    assert (ranges - 1) * tiles.per_split < pixels <= ranges * tiles.per_split
    assert (blocks - 1) * tiles.block_c < channels <= blocks * tiles.block_c
    assert ranges * blocks * n >= min(256, images * channels // 32 * (pixels // 128))
    assert ranges == 1 or ranges * blocks * n < 2 * ops.MANY
