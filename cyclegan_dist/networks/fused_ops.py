"""Operations of the networks as Triton kernels in NHWC: instance norm with what follows it, padding, cropping.

Tensors are N x C x H x W in torch's channels_last layout, of dtype float32, bfloat16 or float16; sums are computed in
float32. Gradients are channels_last too, and can be computed once, not differentiated again.
"""

# pyright: basic
from typing import Any, Literal, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from cyclegan_dist.networks import norm_kernels, pad_kernels

Mode = Literal["reflect", "replicate", "zero"]
WIDTH = 8  # tensor cores read channels by eights
TILE = 1024  # elements of a tile: 8 for each of the 128 threads of a program, which are loaded at once
MAX_SPLITS = 64  # ranges of pixels whose sums each program of the next pass combines
FEW, MANY = 256, 1056  # programs that occupy an H100 (132 processors) at 2 and 8 each


def instance_norm(
    x: Tensor,
    *,
    slope: float = 1.0,
    residual: Tensor | None = None,
    padding: int = 0,
    mode: Mode = "reflect",
    epsilon: float = 1e-5,
) -> Tensor:
    """Each channel of each image to mean 0 and variance 1, activated, `residual` added, padded on all sides.

    The activation multiplies negative values by `slope`: 1 for none, 0 for ReLU. The sum of forward passes reads x
    twice and writes the result; backward reads x and the gradient twice and writes x's gradient. Only x, means and
    deviations are kept for backward.

    Raises:
        ValueError: for images of one pixel, or smaller than a reflection needs.
    """
    plain, padded = _InstanceNorm.apply(x, residual, slope, padding, mode, epsilon, not padding)
    return padded if padding else plain


def instance_norm_and_padded(
    x: Tensor,
    *,
    padding: int,
    slope: float = 1.0,
    residual: Tensor | None = None,
    mode: Mode = "reflect",
    epsilon: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """`instance_norm` without padding and with padding, computed at once."""
    return _InstanceNorm.apply(x, residual, slope, padding, mode, epsilon, True)


def pad(x: Tensor, padding: int, mode: Mode = "zero", *, shifts: int = 1) -> Tensor:
    """Pad an image of any layout on all sides, and its channels with zeros to a multiple of 8.

    With `shifts` > 1, channel s * C + c of the result is channel c moved left by s columns, and the result is
    `shifts` - 1 columns narrower. Under autocast the result has autocast's dtype.
    """
    return _Pad.apply(x, padding, mode, shifts)


def crop(x: Tensor, channels: int, *, tanh: bool = False, rows: int = 1) -> Tensor:
    """The first `channels` channels of x, or their tanh.

    With `rows` > 1, channel c is the sum of the channels c * rows + r, each moved up by r rows, and the result is
    `rows` - 1 rows lower.
    """
    return _Crop.apply(x, channels, tanh, rows)


class Tiling(NamedTuple):
    """How a kernel divides the pixels and channels of each image into programs and tiles."""

    grid: tuple[int, int, int]
    per_split: int
    block_p: int
    block_c: int


def tiling(images: int, pixels: int, channels: int, itemsize: int) -> Tiling:
    """Blocks of 128 bytes of channels, narrower where that gives too few programs, times ranges of whole tiles."""
    block_c = min(128 // itemsize, triton.next_power_of_2(channels))
    while block_c > 16 and images * triton.cdiv(channels, block_c) * MAX_SPLITS < FEW:
        block_c //= 2
    block_p = TILE // max(block_c, 16)
    tiles, blocks = triton.cdiv(pixels, block_p), triton.cdiv(channels, block_c)
    splits = min(triton.cdiv(MANY, images * blocks), triton.cdiv(tiles, 2), MAX_SPLITS)
    per_split = triton.cdiv(tiles, splits) * block_p
    return Tiling((triton.cdiv(pixels, per_split), blocks, images), per_split, block_p, block_c)


def launch(kernel: Any, grid: tuple[int, int, int], *arguments: object, **constants: object) -> None:
    """Start a Triton kernel on the current CUDA stream."""
    kernel[grid](*arguments, **constants)


def _nhwc(x: Tensor, shape: tuple[int, int, int, int] | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """An empty channels_last tensor like x."""
    layout = torch.channels_last
    return torch.empty(shape or x.shape, dtype=dtype or x.dtype, device=x.device, memory_format=layout)


def _channels_last(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous(memory_format=torch.channels_last)


def _ways(mode: Mode, padding: int) -> int:
    """How many rows of a padded image can show the same row of the image."""
    return {"reflect": 3, "replicate": 1 + 2 * padding, "zero": 1}[mode] if padding else 1


def _check(x: Tensor, padding: int, mode: Mode) -> None:
    if mode == "reflect" and padding >= min(x.shape[2:]):
        raise ValueError(f"reflection by {padding} needs larger images than {tuple(x.shape[2:])}")


class _InstanceNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        slope: float,
        padding: int,
        mode: Mode,
        epsilon: float,
        want_plain: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        _check(x, padding, mode)
        n, channels, height, width = x.shape
        if height * width == 1:
            raise ValueError("instance norm needs more than one pixel per channel")
        x, residual = x.contiguous(memory_format=torch.channels_last), _channels_last(residual)
        plain = _nhwc(x) if want_plain else None
        padded = _nhwc(x, (n, channels, height + 2 * padding, width + 2 * padding)) if padding else None
        few = tiling(n, height * width, channels, x.element_size())
        splits = few.grid[0]
        partial = torch.empty(2 * n, splits, channels, device=x.device)
        moments = torch.empty(2, n, channels, device=x.device)
        launch(
            norm_kernels.statistics_kernel,
            few.grid,
            x,
            partial,
            height * width,
            channels,
            few.per_split,
            BLOCK_P=few.block_p,
            BLOCK_C=few.block_c,
        )
        out = tiling(n, (height + 2 * padding) * (width + 2 * padding), channels, x.element_size())
        launch(
            norm_kernels.normalise_kernel,
            out.grid,
            x,
            partial,
            moments,
            residual,
            plain,
            padded,
            height,
            width,
            channels,
            padding,
            splits,
            few.per_split,
            out.per_split,
            epsilon,
            slope,
            MODE=mode,
            SPLITS=triton.next_power_of_2(splits),
            BLOCK_P=out.block_p,
            BLOCK_C=out.block_c,
        )
        ctx.save_for_backward(x, moments)
        ctx.has_residual, ctx.slope, ctx.padding, ctx.mode = residual is not None, slope, padding, mode
        ctx.set_materialize_grads(False)
        return plain, padded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, plain: Tensor | None, padded: Tensor | None) -> Any:
        if plain is None and padded is None:
            return (None,) * 7
        x, moments = ctx.saved_tensors
        n, channels, height, width = x.shape
        plain, stride = _by_pixel(plain, channels)
        padded = _channels_last(padded)
        folds = ctx.has_residual and padded is not None
        folded = _nhwc(x) if folds else None
        tiles = tiling(n, height * width, channels, x.element_size())
        splits = tiles.grid[0]
        partial = torch.empty(2 * n, splits, channels, device=x.device)
        shape = {"BLOCK_P": tiles.block_p, "BLOCK_C": tiles.block_c}
        fold = {"MODE": ctx.mode, "WAYS": _ways(ctx.mode, ctx.padding)}
        launch(
            norm_kernels.gradient_sums_kernel,
            tiles.grid,
            x,
            moments,
            plain,
            padded,
            folded,
            partial,
            height,
            width,
            channels,
            stride,
            ctx.padding,
            tiles.per_split,
            ctx.slope,
            **fold,
            **shape,
        )
        if folds:
            plain, padded, stride, fold = folded, None, channels, {"MODE": "zero", "WAYS": 1}
        gradient = _nhwc(x)
        launch(
            norm_kernels.input_gradient_kernel,
            tiles.grid,
            x,
            moments,
            plain,
            padded,
            partial,
            gradient,
            height,
            width,
            channels,
            stride,
            ctx.padding,
            splits,
            tiles.per_split,
            ctx.slope,
            **fold,
            SPLITS=triton.next_power_of_2(splits),
            **shape,
        )
        return gradient, plain if ctx.has_residual else None, None, None, None, None, None


def _by_pixel(gradient: Tensor | None, channels: int) -> tuple[Tensor | None, int]:
    """The gradient with its pixels one constant stride apart, as in NHWC or in some channels of it, and that stride."""
    if gradient is None or gradient.is_contiguous(memory_format=torch.channels_last):
        return gradient, channels
    _, _, height, width = gradient.shape
    stride = gradient.stride(3)
    if stride >= channels and gradient.stride() == (height * width * stride, 1, width * stride, stride):
        return gradient, stride
    return gradient.contiguous(memory_format=torch.channels_last), channels


def _flat_grid(n: int, pixels: int, channels: int) -> tuple[tuple[int, int, int], dict[str, int]]:
    block_c = min(64, triton.next_power_of_2(channels))
    block_p = TILE // max(block_c, 8)
    grid = (triton.cdiv(pixels, block_p), triton.cdiv(channels, block_c), n)
    return grid, {"BLOCK_P": block_p, "BLOCK_C": block_c}


class _Pad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int, mode: Mode, shifts: int) -> Tensor:
        _check(x, padding, mode)
        n, channels, height, width = x.shape
        padded = triton.cdiv(shifts * channels, WIDTH) * WIDTH
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        result = _nhwc(x, (n, padded, height + 2 * padding, width + 2 * padding - shifts + 1), dtype)
        grid, blocks = _flat_grid(n, result.shape[2] * result.shape[3], padded)
        launch(
            pad_kernels.pad_kernel,
            grid,
            x,
            result,
            height,
            width,
            channels,
            *x.stride(),
            padding,
            shifts,
            MODE=mode,
            CHANNELS=padded,
            **blocks,
        )
        ctx.shape, ctx.dtype, ctx.padding, ctx.mode, ctx.shifts = x.shape, x.dtype, padding, mode, shifts
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        n, channels, height, width = ctx.shape
        result = _nhwc(gradient, ctx.shape, ctx.dtype)
        grid, blocks = _flat_grid(n, height * width, channels)
        launch(
            pad_kernels.fold_kernel,
            grid,
            gradient,
            result,
            height,
            width,
            channels,
            ctx.padding,
            ctx.shifts,
            _ways(ctx.mode, ctx.padding),
            MODE=ctx.mode,
            CHANNELS=gradient.shape[1],
            **blocks,
        )
        return result, None, None, None


class _Crop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, channels: int, tanh: bool, rows: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        n, wide, height, width = x.shape
        result = _nhwc(x, (n, channels, height - rows + 1, width))
        grid, blocks = _flat_grid(n, result.shape[2] * width, channels)
        launch(
            pad_kernels.crop_kernel,
            grid,
            x,
            result,
            result.shape[2],
            width,
            channels,
            rows,
            TANH=tanh,
            CHANNELS=wide,
            **blocks,
        )
        ctx.save_for_backward(result if tanh else None)
        ctx.shape, ctx.rows = x.shape, rows
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        n, wide, height, width = ctx.shape
        result = _nhwc(gradient, ctx.shape)
        grid, blocks = _flat_grid(n, height * width, wide)
        launch(
            pad_kernels.crop_gradient_kernel,
            grid,
            gradient,
            y,
            result,
            gradient.shape[2],
            width,
            gradient.shape[1],
            *gradient.stride(),
            ctx.rows,
            CHANNELS=wide,
            **blocks,
        )
        return result, None, None, None
