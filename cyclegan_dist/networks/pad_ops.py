"""Padding of images and the end of a network's last convolution, as Triton kernels in NHWC.

Tensors are N x C x H x W in torch's channels_last layout, of dtype float32, bfloat16 or float16. Gradients are in that
layout too, and can be computed once, not differentiated again.
"""
# pyright: basic

from typing import Any, Literal

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from cyclegan_dist.networks import pad_kernels

Mode = Literal["reflect", "replicate", "zero"]
TILE = 1024  # elements of a tile: 8 for each of the 128 threads of a program, which are loaded at once


def pad(x: Tensor, padding: int, mode: Mode = "zero", *, multiple: int = 1, shifts: int = 1) -> Tensor:
    """Pad an image of any layout on all sides, and its channels with zeros to a multiple of `multiple`.

    With `shifts` > 1, channel s * C + c of the result is channel c moved left by s columns, and the result is
    `shifts` - 1 columns narrower. Under autocast the result has autocast's dtype.

    Raises:
        ValueError: for images smaller than a reflection needs.
    """
    return _Pad.apply(x, padding, mode, multiple, shifts)


def crop(x: Tensor, channels: int, *, tanh: bool = False, rows: int = 1) -> Tensor:
    """The first `channels` channels of x, or their tanh.

    With `rows` > 1, channel c is the sum of the channels c * rows + r, each moved up by r rows, and the result is
    `rows` - 1 rows lower.
    """
    return _Crop.apply(x, channels, tanh, rows)


def launch(kernel: Any, grid: tuple[int, int, int], *arguments: object, **constants: object) -> None:
    """Start a Triton kernel on the current CUDA stream."""
    kernel[grid](*arguments, **constants)


def empty_nhwc(x: Tensor, shape: tuple[int, int, int, int] | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """An empty channels_last tensor like x."""
    layout = torch.channels_last
    return torch.empty(shape or x.shape, dtype=dtype or x.dtype, device=x.device, memory_format=layout)


def ways(mode: Mode, padding: int) -> int:
    """How many rows of a padded image can show the same row of the image."""
    return {"reflect": 3, "replicate": 1 + 2 * padding, "zero": 1}[mode] if padding else 1


def check_reflection(x: Tensor, padding: int, mode: Mode) -> None:
    """Raise ValueError if x is too small to be reflected by `padding`."""
    if mode == "reflect" and padding >= min(x.shape[2:]):
        raise ValueError(f"reflection by {padding} needs larger images than {tuple(x.shape[2:])}")


def _flat_grid(n: int, pixels: int, channels: int) -> tuple[tuple[int, int, int], dict[str, int]]:
    block_c = min(64, triton.next_power_of_2(channels))
    block_p = TILE // max(block_c, 8)
    grid = (triton.cdiv(pixels, block_p), triton.cdiv(channels, block_c), n)
    return grid, {"BLOCK_P": block_p, "BLOCK_C": block_c}


class _Pad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, padding: int, mode: Mode, multiple: int, shifts: int) -> Tensor:
        check_reflection(x, padding, mode)
        n, channels, height, width = x.shape
        padded = triton.cdiv(shifts * channels, multiple) * multiple
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        result = empty_nhwc(x, (n, padded, height + 2 * padding, width + 2 * padding - shifts + 1), dtype)
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
        result = empty_nhwc(gradient, ctx.shape, ctx.dtype)
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
            ways(ctx.mode, ctx.padding),
            MODE=ctx.mode,
            CHANNELS=gradient.shape[1],
            **blocks,
        )
        return result, None, None, None, None


class _Crop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, channels: int, tanh: bool, rows: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        n, wide, height, width = x.shape
        result = empty_nhwc(x, (n, channels, height - rows + 1, width))
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
        result = empty_nhwc(gradient, ctx.shape)
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
