"""Spectral norm (Miyato et al. 2018, arXiv 1802.05957): convolutions whose weight is divided by its largest singular
value.

Singular vectors are estimated by power iteration. It is a step of its own (`iterate_power`), not a part of a forward:
an update makes one iteration for the weights that it trains, in however many micro-batches it computes their gradients,
and the forward of a frozen discriminator makes none.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

START = 15  # iterations on initial weights


class SpectralConv2d(nn.Conv2d):
    """`nn.Conv2d` with the weight W / sigma. sigma = u W v estimates the largest singular value of W as a matrix of
    out_channels x (in_channels * height * width); its gradient is that of W with u and v held constant.

    `weight` is W, so that parameters have the names of `nn.Conv2d`. The unit vectors `u` and `v` are buffers.
    """

    u: Tensor
    v: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)  # pyright: ignore[reportUnknownMemberType]
        for name, size in zip("uv", self.weight.flatten(1).shape, strict=True):
            self.register_buffer(name, torch.full((size,), size**-0.5))

    def forward(self, input: Tensor) -> Tensor:
        """N x in_channels x H x W, as `nn.Conv2d`."""
        return self._conv_forward(input, self.normalised_weight(), self.bias)

    def normalised_weight(self) -> Tensor:
        """W / sigma, in the precision of W."""
        # No matrix products, which autocast would compute in bf16.
        sigma = ((self.weight.flatten(1) * self.v).sum(dim=1) * self.u).sum()
        return self.weight / sigma

    @torch.no_grad()
    def iterate(self) -> None:
        """One power iteration. It reads no value from the device, and changes `u` and `v` in place."""
        matrix = self.weight.flatten(1)
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))
        self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))


def iterate_power(network: nn.Module) -> None:
    """One power iteration of every convolution with spectral norm in `network` whose weight is trained: a frozen one
    keeps the norm that it has, so that its outputs stay the same.
    """
    for layer in network.modules():
        if isinstance(layer, SpectralConv2d) and layer.weight.requires_grad:
            layer.iterate()


def start_iteration(network: nn.Module) -> None:
    """Estimate the singular vectors of initial weights, unless these are on the device `meta`."""
    if not any(parameter.is_meta for parameter in network.parameters()):
        for _ in range(START):
            iterate_power(network)
