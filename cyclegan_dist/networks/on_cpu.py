"""Faster CPU implementations of layers of torch.nn.

They have the same weights as the layers they extend and, up to rounding, the same results. The original implementation
is used on other devices (on GPUs, `fused` may replace it), in exported programs, which may run anywhere, and under
autocast, where bf16 would round the partial sums.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 8  # output channels that CPU kernels compute at once


def _applies(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_exporting() and not torch.is_autocast_enabled("cpu")


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` without weights, computed as group norm with one group per channel.

    Both have the same formula. torch computes instance norm with the kernels of batch norm; those of group norm read a
    contiguous tensor fewer times.
    """

    def __init__(self, num_features: int):
        super().__init__(num_features)  # pyright: ignore[reportUnknownMemberType]

    def forward(self, input: Tensor) -> Tensor:
        """N x num_features x H x W, each channel of each image to mean 0 and variance 1."""
        if not (_applies(input) and input.dim() == 4 and input.is_contiguous()) or input.shape[2:].numel() == 1:
            return super().forward(input)  # which raises the error for a channel with one pixel
        return F.group_norm(input, self.num_features, eps=self.eps)


class NarrowConv2d(nn.Conv2d):
    """`nn.Conv2d` with stride 1 and without padding, for large kernels and very few output channels.

    CPU kernels compute at least eight output channels at once, and discard five of them for a generator's last layer
    (7x7 to 3 channels). Instead, each row of the kernel gets output channels of its own (7 x 3) in a convolution with a
    kernel of height 1, and its results are shifted by the row and added up.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *, bias: bool = True):
        super().__init__(in_channels, out_channels, kernel_size, bias=bias)  # pyright: ignore[reportUnknownMemberType]

    def forward(self, input: Tensor) -> Tensor:
        """N x in_channels x H x W to N x out_channels x (H - height of the kernel + 1) x (W - its width + 1)."""
        if self.out_channels >= WIDTH or not _applies(input):
            return super().forward(input)
        channels, height = self.out_channels, self.kernel_size[0]
        rows = self.weight.transpose(1, 2).flatten(0, 1).unsqueeze(2)
        by_row = torch.unbind(torch.unflatten(F.conv2d(input, rows), -3, (channels, height)), -3)
        tall = by_row[0].shape[-2] - height + 1
        result = torch.narrow(by_row[0], -2, 0, tall)
        if self.bias is not None:
            result = result + self.bias.view(-1, 1, 1)
        for shift in range(1, height):
            result = result + torch.narrow(by_row[shift], -2, shift, tall)
        return result
