"""Triton kernels at the edges of a network: padding of images and the end of the last convolution, both in NHWC.

They also change the number of channels, which convolutions need to be a multiple of 8, and can move a side of a
convolution's kernel into its channels.
"""
# Triton compiles these functions: arguments are pointers, operators its own, constants written in capitals.
# pyright: basic
# ruff: noqa: N803

import triton
import triton.language as tl


@triton.jit
def source(i, padding, size, MODE: tl.constexpr):
    """Row or column of an image that row or column `i` of the padded image shows. Zero padding: may be outside."""
    i = i - padding
    if MODE == "reflect":
        i = tl.where(i < 0, -i, i)
        i = tl.where(i >= size, 2 * (size - 1) - i, i)
    elif MODE == "replicate":
        i = tl.minimum(tl.maximum(i, 0), size - 1)
    return i


@triton.jit
def preimage(i, way, padding, size, MODE: tl.constexpr):
    """The inverse of `source`: a row or column of the padded image, and whether it exists and shows `i`.

    There are several `way`s to be shown: 1 for zero padding, 3 for reflection, 1 + 2 * padding for replication.
    """
    place = i + padding
    shows = i >= 0
    if MODE == "reflect":
        place = tl.where(way == 1, padding - i, tl.where(way == 2, 2 * (size - 1) + padding - i, place))
        first, last = (i >= 1) & (i <= padding), (i >= size - 1 - padding) & (i <= size - 2)
        shows = ((way == 0) & shows) | ((way == 1) & first) | ((way == 2) & last)
    elif MODE == "replicate":
        place = tl.where(way == 0, place, tl.where(way <= padding, way - 1, size - 1 + way))
        first, last = (way >= 1) & (way <= padding) & (i == 0), (way > padding) & (i == size - 1)
        shows = ((way == 0) & shows) | first | last
    return place, shows


@triton.jit(do_not_specialize=["height", "width", "padding", "shifts"])
def pad_kernel(
    x,
    result,
    height,
    width,
    channels,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    padding,
    shifts,
    MODE: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Pad an image of any layout to NHWC, and to CHANNELS with zeros.

    Channel s * channels + c of the result is channel c moved left by s columns, for s < shifts.
    """
    image = tl.program_id(2).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    wide = width + 2 * padding - shifts + 1
    pixels = (height + 2 * padding) * wide
    h = source(p // wide, padding, height, MODE)[:, None]
    w = source((p % wide)[:, None] + (c // channels)[None, :], padding, width, MODE)
    valid = (p < pixels)[:, None] & (c < CHANNELS)[None, :]
    shown = valid & (c < shifts * channels)[None, :] & (h >= 0) & (h < height) & (w >= 0) & (w < width)
    pointer = x + image * stride_n + h * stride_h + w * stride_w + (c % channels)[None, :] * stride_c
    value = tl.load(pointer, mask=shown, other=0.0)
    pointer = result + image * pixels * CHANNELS + p[:, None] * CHANNELS + c[None, :]
    tl.store(pointer, value.to(result.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=["height", "width", "padding", "shifts", "ways"])
def fold_kernel(
    gradient,
    result,
    height,
    width,
    channels,
    padding,
    shifts,
    ways,
    MODE: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The gradient of `pad_kernel`: each pixel's sum over the places that show it, in NHWC."""
    image = tl.program_id(2).to(tl.int64)
    c = (tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C))[None, :]
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    pixels = height * width
    wide = width + 2 * padding - shifts + 1
    gradient += image * (height + 2 * padding) * wide * CHANNELS
    valid = (p < pixels)[:, None] & (c < channels)
    total = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    for row_way in range(ways):
        row, row_shows = preimage(p // width, row_way, padding, height, MODE)
        for column_way in range(ways):
            column, shows = preimage(p % width, column_way, padding, width, MODE)
            for shift in range(shifts):
                moved = column - shift
                shown = valid & (row_shows & shows & (moved >= 0) & (moved < wide))[:, None]
                pointer = gradient + (row * wide + moved)[:, None] * CHANNELS + shift * channels + c
                total += tl.load(pointer, mask=shown, other=0.0).to(tl.float32)
    pointer = result + image * pixels * channels + p[:, None] * channels + c
    tl.store(pointer, total.to(result.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=["height", "width", "rows"])
def crop_kernel(
    x,
    result,
    height,
    width,
    channels,
    rows,
    TANH: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The first channels of an NHWC tensor with CHANNELS, or their tanh; height and width are of the result.

    With several `rows`, channel c is the sum of the channels c * rows + r, each from r rows below.
    """
    image = tl.program_id(2).to(tl.int64)
    c = (tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C))[None, :]
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    pixels = height * width
    valid = (p < pixels)[:, None] & (c < channels)
    x += image * (height + rows - 1) * width * CHANNELS
    y = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    for row in range(rows):
        pointer = x + (p + row * width)[:, None] * CHANNELS + c * rows + row
        y += tl.load(pointer, mask=valid, other=0.0).to(tl.float32)
    if TANH:
        small = tl.exp(-2.0 * tl.abs(y))
        size = (1.0 - small) / (1.0 + small)
        y = tl.where(y < 0, -size, size)
    pointer = result + image * pixels * channels + p[:, None] * channels + c
    tl.store(pointer, y.to(result.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=["height", "width", "rows"])
def crop_gradient_kernel(
    gradient,
    y,
    result,
    height,
    width,
    channels,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    rows,
    CHANNELS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The gradient of `crop_kernel` from one of any layout. `y` is the result of tanh, or None without it."""
    image = tl.program_id(2).to(tl.int64)
    k = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    pixels = (height + rows - 1) * width
    c, row = (k // rows)[None, :], (k % rows)[None, :]
    h, w = (p // width)[:, None] - row, (p % width)[:, None]
    valid = (p < pixels)[:, None] & (k < CHANNELS)[None, :]
    shown = valid & (c < channels) & (h >= 0) & (h < height)
    pointer = gradient + image * stride_n + h * stride_h + w * stride_w + c * stride_c
    g = tl.load(pointer, mask=shown, other=0.0).to(tl.float32)
    if y is not None:
        value = tl.load(y + image * height * width * channels + (h * width + w) * channels + c, mask=shown, other=0.0)
        value = value.to(tl.float32)
        g = g * (1.0 - value * value)
    pointer = result + image * pixels * CHANNELS + p[:, None] * CHANNELS + k[None, :]
    tl.store(pointer, g.to(result.dtype.element_ty), mask=valid)
