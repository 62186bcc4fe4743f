"""Triton kernels of instance norm, activation, residual and padding in NHWC: two forward, two backward.

A program handles a range of one image's pixels and a block of its channels, in tiles [BLOCK_P pixels x BLOCK_C
channels]. Means and sums are computed per range first (`partial`) and combined by every program that needs them: in a
fixed order, so that results repeat, and without a kernel in between.
"""
# Triton compiles these functions: arguments are pointers, operators its own, constants written in capitals.
# pyright: basic, reportOptionalMemberAccess=false, reportGeneralTypeIssues=false
# ruff: noqa: N803

import triton
import triton.language as tl

from cyclegan_dist.networks.pad_kernels import preimage, source

SIZES = ["pixels", "height", "width", "padding", "splits", "per_split"]  # no kernel gains by knowing these


@triton.jit
def merge(means, spreads, counts, total, near):
    """Mean and sum of squared deviations of the union of several sets (Chan), along the first dimension.

    `near` is any value near the mean: less is rounded away in a sum of differences from it.
    """
    mean = near + tl.sum(counts * (means - near[None, :]), 0) / total
    off = means - mean[None, :]
    return mean, tl.sum(spreads + counts * off * off, 0)


@triton.jit(do_not_specialize=SIZES)
def statistics_kernel(x, partial, pixels, channels, per_split, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    """Mean and sum of squared deviations per image, range and channel.

    Each lane updates its own mean (Welford), then the lanes are merged (Chan): a mean far from 0 costs no precision.
    `partial` is 2 x images x splits x channels.
    """
    split, image, splits = tl.program_id(0), tl.program_id(2), tl.num_programs(0)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    x += image.to(tl.int64) * pixels * channels
    start = split * per_split
    end = tl.minimum(start + per_split, pixels)
    mean = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    spread = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    count = 0.0
    for first in range(start, end, BLOCK_P):
        p = first + tl.arange(0, BLOCK_P)
        valid = (p < end)[:, None] & (c < channels)[None, :]
        value = tl.load(x + p[:, None] * channels + c[None, :], mask=valid, other=0.0).to(tl.float32)
        count += 1.0
        off = tl.where(valid, value - mean, 0.0)
        mean += off * (1.0 / count)
        spread += off * (value - mean)
    pixels_of_lane = ((end - start - tl.arange(0, BLOCK_P) + BLOCK_P - 1) // BLOCK_P).to(tl.float32)[:, None]
    near = tl.load(x + start * channels + c, mask=c < channels, other=0.0).to(tl.float32)
    merged, spread_of_range = merge(mean, spread, pixels_of_lane, (end - start).to(tl.float32), near)
    partial += (image * splits + split) * channels + c
    tl.store(partial, merged, mask=c < channels)
    tl.store(partial + tl.num_programs(2) * splits * channels, spread_of_range, mask=c < channels)


@triton.jit
def load_partial(partial, image, images, splits, c, channels, SPLITS: tl.constexpr):
    """Both halves of `partial` for one image, SPLITS x BLOCK_C each, 0 beyond `splits`."""
    s = tl.arange(0, SPLITS)
    valid = (s < splits)[:, None] & (c < channels)[None, :]
    partial += (image * splits + s)[:, None] * channels + c[None, :]
    first = tl.load(partial, mask=valid, other=0.0)
    return first, tl.load(partial + images * splits * channels, mask=valid, other=0.0)


@triton.jit(do_not_specialize=[*SIZES, "statistics_per_split"])
def normalise_kernel(
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
    statistics_per_split,
    per_split,
    epsilon,
    slope,
    MODE: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Normalise, activate, add `residual`, and write the result as `plain`, as `padded`, or as both.

    `residual`, `plain` or `padded` is None where there is none. Ranges are of the padded image. The first program of
    each image and block also writes mean and 1 / standard deviation to `moments`, 2 x images x channels.
    """
    image, images = tl.program_id(2), tl.num_programs(2)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    pixels = height * width

    means, spreads = load_partial(partial, image, images, splits, c, channels, SPLITS)
    s = tl.arange(0, SPLITS)
    counts = tl.minimum(statistics_per_split, tl.maximum(pixels - s * statistics_per_split, 0)).to(tl.float32)[:, None]
    near = tl.load(partial + image * splits * channels + c, mask=c < channels, other=0.0)
    mean, spread = merge(means, spreads, counts, pixels.to(tl.float32), near)
    rstd = 1.0 / tl.sqrt(spread / pixels.to(tl.float32) + epsilon)
    if tl.program_id(0) == 0:
        tl.store(moments + image * channels + c, mean, mask=c < channels)
        tl.store(moments + (images + image) * channels + c, rstd, mask=c < channels)

    x += image.to(tl.int64) * pixels * channels
    padded_width = width + 2 * padding
    padded_pixels = (height + 2 * padding) * padded_width
    if residual is not None:
        residual += image.to(tl.int64) * pixels * channels
    if plain is not None:
        plain += image.to(tl.int64) * pixels * channels
    if padded is not None:
        padded += image.to(tl.int64) * padded_pixels * channels
    start = tl.program_id(0) * per_split
    end = tl.minimum(start + per_split, padded_pixels)
    for first in range(start, end, BLOCK_P):
        p = first + tl.arange(0, BLOCK_P)
        valid = (p < end)[:, None] & (c < channels)[None, :]
        shown = valid
        at = p
        if padded is not None:
            row, column = p // padded_width, p % padded_width
            h, w = source(row, padding, height, MODE), source(column, padding, width, MODE)
            at = h * width + w
            if MODE == "zero":
                shown = valid & ((h >= 0) & (h < height) & (w >= 0) & (w < width))[:, None]
        value = tl.load(x + at[:, None] * channels + c[None, :], mask=shown, other=0.0).to(tl.float32)
        y = (value - mean[None, :]) * rstd[None, :]
        y = tl.where(y > 0, y, y * slope)
        if residual is not None:
            y += tl.load(residual + at[:, None] * channels + c[None, :], mask=shown, other=0.0).to(tl.float32)
        if padded is not None:
            y = tl.where(shown, y, 0.0)
            out = padded + p[:, None] * channels + c[None, :]
            tl.store(out, y.to(padded.dtype.element_ty), mask=valid)
            if plain is not None:
                h, w = row - padding, column - padding
                inside = (h >= 0) & (h < height) & (w >= 0) & (w < width)
                out = plain + (h * width + w)[:, None] * channels + c[None, :]
                tl.store(out, y.to(plain.dtype.element_ty), mask=valid & inside[:, None])
        else:
            tl.store(plain + p[:, None] * channels + c[None, :], y.to(plain.dtype.element_ty), mask=valid)


@triton.jit
def row_gradient(padded, row, valid, w, c, width, channels, padding, MODE: tl.constexpr, WAYS: tl.constexpr):
    """Sum of the padded image's gradients in `row`, over the columns that show `w`."""
    g = tl.zeros(valid.shape, tl.float32)
    for way in tl.static_range(WAYS):
        column, shows = preimage(w, way, padding, width, MODE)
        pointer = padded + (row * (width + 2 * padding) + column)[:, None] * channels + c[None, :]
        g += tl.load(pointer, mask=valid & shows[:, None], other=0.0).to(tl.float32)
    return g


@triton.jit
def output_gradient(
    plain, padded, p, first, end, c, height, width, channels, stride, padding, MODE: tl.constexpr, WAYS: tl.constexpr
):
    """Gradient of the unpadded output at pixels `p`: that of `plain` plus the sum over the padded pixels that show it.

    `stride` is the distance between pixels of `plain`, which may be a part of the channels of a wider tensor.
    """
    valid = (p < end)[:, None] & (c < channels)[None, :]
    if plain is not None:
        g = tl.load(plain + p[:, None] * stride + c[None, :], mask=valid, other=0.0).to(tl.float32)
    else:
        g = tl.zeros(valid.shape, tl.float32)
    if padded is not None:
        h, w = p // width, p % width
        g += row_gradient(padded, h + padding, valid, w, c, width, channels, padding, MODE, WAYS)
        if WAYS > 1:  # noqa: SIM102, a constant: otherwise there is no branch
            # Few tiles contain rows near the border, but nearly all contain columns near it.
            if (first // width <= padding) | (tl.minimum(first + p.shape[0], end) > (height - 1 - padding) * width):
                for way in range(1, WAYS):
                    row, shows = preimage(h, way, padding, height, MODE)
                    shown = valid & shows[:, None]
                    g += row_gradient(padded, row, shown, w, c, width, channels, padding, MODE, WAYS)
    return g


@triton.jit(do_not_specialize=SIZES)
def gradient_sums_kernel(
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
    padding,
    per_split,
    slope,
    MODE: tl.constexpr,
    WAYS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Sums of g and of g * (normalised x) per image, range and channel; g is the gradient before the activation.

    `plain` and `padded` are the gradients of the outputs, None for an output without one. `folded`, if not None, gets
    their sum, which is the gradient of the residual. `partial` is 2 x images x splits x channels.
    """
    split, image, splits, images = tl.program_id(0), tl.program_id(2), tl.num_programs(0), tl.num_programs(2)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    pixels = height * width
    mean = tl.load(moments + image * channels + c, mask=c < channels, other=0.0)[None, :]
    rstd = tl.load(moments + (images + image) * channels + c, mask=c < channels, other=0.0)[None, :]
    x += image.to(tl.int64) * pixels * channels
    if plain is not None:
        plain += image.to(tl.int64) * pixels * stride
    if padded is not None:
        padded += image.to(tl.int64) * (height + 2 * padding) * (width + 2 * padding) * channels
    if folded is not None:
        folded += image.to(tl.int64) * pixels * channels
    start = split * per_split
    end = tl.minimum(start + per_split, pixels)
    sums = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    products = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    for first in range(start, end, BLOCK_P):
        p = first + tl.arange(0, BLOCK_P)
        valid = (p < end)[:, None] & (c < channels)[None, :]
        value = tl.load(x + p[:, None] * channels + c[None, :], mask=valid, other=0.0).to(tl.float32)
        g = output_gradient(plain, padded, p, first, end, c, height, width, channels, stride, padding, MODE, WAYS)
        if folded is not None:
            rounded = g.to(folded.dtype.element_ty)
            tl.store(folded + p[:, None] * channels + c[None, :], rounded, mask=valid)
            g = rounded.to(tl.float32)  # what the second pass reads
        normalised = (value - mean) * rstd
        g = tl.where(normalised > 0, g, g * slope)
        sums += g
        products += g * normalised
    partial += (image * splits + split) * channels + c
    tl.store(partial, tl.sum(sums, 0), mask=c < channels)
    tl.store(partial + images * splits * channels, tl.sum(products, 0), mask=c < channels)


@triton.jit(do_not_specialize=SIZES)
def input_gradient_kernel(
    x,
    moments,
    plain,
    padded,
    partial,
    result,
    height,
    width,
    channels,
    stride,
    padding,
    splits,
    per_split,
    slope,
    MODE: tl.constexpr,
    WAYS: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Gradient of x: rstd * (g - mean of g - normalised x * mean of g * normalised x), g as in the first pass."""
    image, images = tl.program_id(2), tl.num_programs(2)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    pixels = height * width
    mean = tl.load(moments + image * channels + c, mask=c < channels, other=0.0)[None, :]
    rstd = tl.load(moments + (images + image) * channels + c, mask=c < channels, other=0.0)[None, :]
    sums, products = load_partial(partial, image, images, splits, c, channels, SPLITS)
    mean_g = (tl.sum(sums, 0) / pixels.to(tl.float32))[None, :]
    mean_product = (tl.sum(products, 0) / pixels.to(tl.float32))[None, :]
    x += image.to(tl.int64) * pixels * channels
    result += image.to(tl.int64) * pixels * channels
    if plain is not None:
        plain += image.to(tl.int64) * pixels * stride
    if padded is not None:
        padded += image.to(tl.int64) * (height + 2 * padding) * (width + 2 * padding) * channels
    start = tl.program_id(0) * per_split
    end = tl.minimum(start + per_split, pixels)
    for first in range(start, end, BLOCK_P):
        p = first + tl.arange(0, BLOCK_P)
        valid = (p < end)[:, None] & (c < channels)[None, :]
        value = tl.load(x + p[:, None] * channels + c[None, :], mask=valid, other=0.0).to(tl.float32)
        g = output_gradient(plain, padded, p, first, end, c, height, width, channels, stride, padding, MODE, WAYS)
        normalised = (value - mean) * rstd
        g = tl.where(normalised > 0, g, g * slope)
        gradient = rstd * (g - mean_g - normalised * mean_product)
        tl.store(result + p[:, None] * channels + c[None, :], gradient.to(result.dtype.element_ty), mask=valid)
