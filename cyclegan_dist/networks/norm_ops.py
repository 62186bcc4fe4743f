"""Instance norm with what follows it, as Triton kernels in NHWC.

Tensors are N x C x H x W in torch's channels_last layout, of dtype float32, bfloat16 or float16; sums are computed in
float32. Gradients are channels_last too, and can be computed once, not differentiated again.
"""
# pyright: basic

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from cyclegan_dist.networks import norm_kernels
from cyclegan_dist.networks.pad_ops import TILE, Mode, check_reflection, empty_nhwc, launch, ways

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

    The activation multiplies negative values by `slope`: 1 for none, 0 for ReLU. Forward reads x
    twice, backward reads x and the gradients twice. For backward only x, means and deviations are kept.

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


def _channels_last(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous(memory_format=torch.channels_last)


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
        check_reflection(x, padding, mode)
        n, channels, height, width = x.shape
        if height * width == 1:
            raise ValueError("instance norm needs more than one pixel per channel")
        x, residual = x.contiguous(memory_format=torch.channels_last), _channels_last(residual)
        plain = empty_nhwc(x) if want_plain else None
        padded = empty_nhwc(x, (n, channels, height + 2 * padding, width + 2 * padding)) if padding else None
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
        folded = empty_nhwc(x) if folds else None
        tiles = tiling(n, height * width, channels, x.element_size())
        splits = tiles.grid[0]
        partial = torch.empty(2 * n, splits, channels, device=x.device)
        shape = {"BLOCK_P": tiles.block_p, "BLOCK_C": tiles.block_c}
        fold = {"MODE": ctx.mode, "WAYS": ways(ctx.mode, ctx.padding)}
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
        gradient = empty_nhwc(x)
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
