"""Fused execution of the networks on GPUs: NHWC, with norm, activation, residual and padding in one operation.

The networks are defined as layers of torch.nn. Here these layers are walked, and what follows a convolution, up to the
next one, is computed by `norm_ops` and `pad_ops`. Results are equal up to rounding. Where the number of channels of a
convolution is no multiple of 8, it is padded to one. A convolution before an instance norm, which subtracts any bias,
adds none; that bias gets no gradient.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import partial
from types import UnionType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.networks.build import Discriminator, Generator
from cyclegan_dist.networks.resnet import ResidualBlock
from cyclegan_dist.networks.spectral import SpectralConv2d

DEVICES = {"cuda"}  # types of device that the kernels run on
DTYPES = {torch.float32, torch.bfloat16, torch.float16}
WIDTH = 8  # channels that tensor cores take at once
NARROW_BY_ROWS = False
"""Move rows of the last 7x7 kernel into its output channels, and columns of the first into its input channels.

7 x 3 = 21 channels waste less of a multiple of 8 than 3, but each pixel is read and written more often.
"""

Conv = nn.Conv2d | nn.ConvTranspose2d
Pad = nn.ReflectionPad2d | nn.ReplicationPad2d | nn.ZeroPad2d


class Mark(Enum):
    """Begin and end of a residual block."""

    BRANCH = auto()
    SUM = auto()


Queue = deque[nn.Module | Mark]


def use_fused_layers(networks: nn.Module) -> None:
    """Let all generators and discriminators in `networks` run fused where they can, and lay out their weights for it.

    Those with instance norm run fused on CUDA tensors of 16 or 32 bits, and layer by layer elsewhere and while
    exported. What ran fused can be differentiated once. Parameters and the keys of the state dict stay the same. Hooks
    of single layers are skipped.
    """
    networks.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    for network in networks.modules():
        if isinstance(network, Generator | Discriminator) and _has_instance_norm(network):
            network.run = run


def _has_instance_norm(network: nn.Module) -> bool:
    return any(isinstance(layer, nn.InstanceNorm2d) for layer in network.modules())


def run(layers: nn.Module, x: Tensor) -> Tensor:
    """`layers(x)`, fused where it can be; `layers` is an nn.Sequential of a generator or discriminator."""
    if x.device.type not in DEVICES or x.dtype not in DTYPES or torch.compiler.is_exporting():
        return layers(x)
    for piece, block in _pieces(layers):
        compute = partial(_run, piece)
        x = compute(x) if block is None else block.in_less_memory(compute, x)
    return x


def _pieces(layers: nn.Module) -> Iterator[tuple[Sequence[nn.Module], ResidualBlock | None]]:
    """Successive layers that run together: single residual blocks where they are recomputed, and what is between."""
    piece = list[nn.Module]()
    for layer in layers.children():
        if isinstance(layer, ResidualBlock) and layer.recomputed:
            if piece:
                yield piece, None
            yield [layer], layer
            piece = []
        else:
            piece.append(layer)
    if piece:
        yield piece, None


def _run(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    from cyclegan_dist.networks import pad_ops  # imports Triton, which there is only for GPUs

    queue, kept, columns = Queue(_flat(layers)), x, 1
    while queue:
        layer = queue.popleft()
        if layer is Mark.BRANCH:
            kept = x
        elif isinstance(layer, Pad):
            columns = _moved(queue[0], "in") if queue else 1
            x = pad_ops.pad(x, *_padding(layer), multiple=WIDTH, shifts=columns)
        elif isinstance(layer, Conv):
            x, columns = _convolve(layer, x, columns, queue), 1
        elif isinstance(layer, nn.InstanceNorm2d):
            x, kept = _normalise(layer, x, kept, queue)
        else:
            assert isinstance(layer, nn.Module)
            x = layer(x)
    return x


def _flat(layers: Iterable[nn.Module]) -> Iterator[nn.Module | Mark]:
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            yield Mark.BRANCH
            yield from layer.conv_block
            yield Mark.SUM
        else:
            yield layer


def _take(queue: Queue, wanted: Mark | type | UnionType) -> nn.Module | Mark | None:
    """Remove and return the next layer if it is the wanted one."""
    if queue and (queue[0] is wanted or (not isinstance(wanted, Mark) and isinstance(queue[0], wanted))):
        return queue.popleft()
    return None


def _normalise(norm: nn.InstanceNorm2d, x: Tensor, kept: Tensor, queue: Queue) -> tuple[Tensor, Tensor]:
    """The norm and what follows it at once: the next convolution's input, and the input of the residual block."""
    from cyclegan_dist.networks import norm_ops

    activation = _take(queue, nn.ReLU | nn.LeakyReLU)
    slope = 1.0 if activation is None else float(getattr(activation, "negative_slope", 0.0))
    residual = kept if _take(queue, Mark.SUM) else None
    branches = _take(queue, Mark.BRANCH) is not None
    pad = _take(queue, Pad)
    padding, mode = _padding(pad) if isinstance(pad, Pad) else (0, "zero")
    if branches and padding:
        kept, x = norm_ops.instance_norm_and_padded(
            x, slope=slope, residual=residual, padding=padding, mode=mode, epsilon=norm.eps
        )
        return x, kept
    x = norm_ops.instance_norm(x, slope=slope, residual=residual, padding=padding, mode=mode, epsilon=norm.eps)
    return x, x if branches else kept


def _convolve(conv: Conv, x: Tensor, columns: int, queue: Queue) -> Tensor:
    """The convolution, with a following tanh if its output channels are padded. Its input has `columns` of them."""
    from cyclegan_dist.networks import pad_ops

    if conv.groups > 1:  # depthwise: no tensor core computes it, whatever its width
        return conv(x)
    normed = bool(queue) and isinstance(queue[0], nn.InstanceNorm2d)
    weight = conv.normalised_weight() if isinstance(conv, SpectralConv2d) else conv.weight
    bias = None if normed else conv.bias
    if columns > 1:  # N x (columns * channels) x H x 1: in channels_last, a view
        weight = weight.permute(0, 3, 1, 2).flatten(1, 2).unsqueeze(3)
    elif conv.in_channels % WIDTH and x.shape[1] == conv.in_channels:
        x = pad_ops.pad(x, 0, multiple=WIDTH)
    cropped = not normed and conv.out_channels % WIDTH != 0
    rows = _moved(conv, "out") if cropped else 1
    if rows > 1:  # (channels * rows) x C x 1 x W, a view too
        weight = weight.transpose(1, 2).flatten(0, 1).unsqueeze(2)
        bias = None if bias is None else F.pad(bias.unsqueeze(1), (0, rows - 1)).flatten()
    x = x.contiguous(memory_format=torch.channels_last)
    transposed = isinstance(conv, nn.ConvTranspose2d)
    more_in = x.shape[1] - weight.shape[0 if transposed else 1]
    more_out = -weight.shape[1 if transposed else 0] % WIDTH if cropped else 0
    if more_in or more_out:  # otherwise a copy, which autocast would cast anew in every call
        first, second = (more_in, more_out) if transposed else (more_out, more_in)
        weight = F.pad(weight, (0, 0, 0, 0, 0, second, 0, first)).contiguous(memory_format=torch.channels_last)
        bias = bias if bias is None else F.pad(bias, (0, more_out))
    if isinstance(conv, nn.ConvTranspose2d):
        y = F.conv_transpose2d(x, weight, bias, conv.stride, conv.padding, conv.output_padding)  # pyright: ignore[reportArgumentType]
    else:
        y = F.conv2d(x, weight, bias, conv.stride, conv.padding)
    if not cropped:
        return y
    return pad_ops.crop(y, conv.out_channels, tanh=_take(queue, nn.Tanh) is not None, rows=rows)


def _moved(layer: nn.Module | Mark, end: Literal["in", "out"]) -> int:
    """How many columns (in) or rows (out) of the layer's kernel are moved into its channels."""
    if not NARROW_BY_ROWS or not isinstance(layer, nn.Conv2d) or layer.stride != (1, 1) or layer.padding != (0, 0):
        return 1
    if end == "in":
        return layer.kernel_size[1] if layer.in_channels < WIDTH else 1
    return layer.kernel_size[0] if layer.out_channels < WIDTH else 1


def _padding(layer: Pad) -> tuple[int, Literal["reflect", "replicate", "zero"]]:
    if isinstance(layer, nn.ZeroPad2d):
        return layer.padding[0], "zero"
    return layer.padding[0], "reflect" if isinstance(layer, nn.ReflectionPad2d) else "replicate"
