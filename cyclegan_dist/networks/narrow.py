"""A convolution to so few channels that computing it as it is written wastes most of a processor's arithmetic."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 8  # channels that CPU libraries compute at once


class NarrowConv2d(nn.Conv2d):
    """`nn.Conv2d` with stride 1 and without padding, for large kernels and very few output channels.

    Libraries of CPU kernels compute eight output channels at once or more; of a generator's last layer, 7x7 to 3
    channels, they throw five away. There, each row of the kernel becomes output channels of its own (7 x 3) of a
    convolution with a kernel one row high, and its results are added up, each shifted by its row. The weights and, but
    for rounding, the results are those of `nn.Conv2d`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int], *, bias: bool = True):
        super().__init__(in_channels, out_channels, kernel_size, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """N x in_channels x H x W to N x out_channels x (H - height of the kernel + 1) x (W - its width + 1)."""
        if not self._by_rows(input):
            return super().forward(input)
        channels, height = self.out_channels, self.kernel_size[0]
        rows = self.weight.transpose(1, 2).flatten(0, 1).unsqueeze(2)
        by_row = F.conv2d(input, rows).unflatten(-3, (channels, height)).unbind(-3)
        tall = by_row[0].shape[-2] - height + 1
        result = by_row[0].narrow(-2, 0, tall)
        if self.bias is not None:
            result = result + self.bias.view(-1, 1, 1)
        for shift in range(1, height):
            result = result + by_row[shift].narrow(-2, shift, tall)
        return result

    def _by_rows(self, input: Tensor) -> bool:
        """Where it was measured to pay: exported files may run anywhere, and bf16 would round each row's part."""
        if torch.compiler.is_exporting() or torch.is_autocast_enabled("cpu"):
            return False
        return input.device.type == "cpu" and self.out_channels < WIDTH
