"""Layers that compute what torch.nn's do, on CPUs in less time.

Their weights and, but for rounding, their results are those of the layers they extend. Elsewhere they are those layers:
on other devices, in what is exported, which may run anywhere, and under autocast, where bf16 would round the parts that
are added up here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 8  # channels that CPU libraries compute at once


def _applies(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_exporting() and not torch.is_autocast_enabled("cpu")


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` without weights, as group norm with a group for each channel.

    Both are the same formula. The one is made of batch norm, of images laid out as channels; the other has kernels of
    its own, which pass over the numbers of a contiguous tensor fewer times.
    """

    def __init__(self, num_features: int):
        super().__init__(num_features)  # pyright: ignore[reportUnknownMemberType]

    def forward(self, input: Tensor) -> Tensor:
        """N x num_features x H x W, each channel of each image to mean 0 and variance 1."""
        if not (_applies(input) and input.dim() == 4 and input.is_contiguous()) or input.shape[2:].numel() == 1:
            return super().forward(input)  # which also says what is wrong with a channel of one pixel
        return F.group_norm(input, self.num_features, eps=self.eps)


class NarrowConv2d(nn.Conv2d):
    """`nn.Conv2d` with stride 1 and without padding, for large kernels and very few output channels.

    Libraries of CPU kernels compute eight output channels at once or more; of a generator's last layer, 7x7 to 3
    channels, they throw five away. There, each row of the kernel becomes output channels of its own (7 x 3) of a
    convolution with a kernel one row high, and its results are added up, each shifted by its row.
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
