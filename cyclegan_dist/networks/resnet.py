"""ResNet generator of the paper (section 7.1, after Johnson et al. 2016).

c7s1-64, d128, d256, R256 x n_blocks, u128, u64, c7s1-3. Tensors are N x C x H x W in [-1, 1]; H and W must be
multiples of 4. Layer order, and so the keys of the state dict, are those of the published generators.

No ReLU is in place: torch's instance norm returns a view, and backward copies the whole gradient of a view that was
overwritten.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from cyclegan_dist.networks.config import GeneratorConfig, Norm
from cyclegan_dist.networks.norm import has_bias, norm_layer
from cyclegan_dist.networks.on_cpu import NarrowConv2d

_PADS = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "zero": nn.ZeroPad2d}


class ResidualBlock(nn.Module):
    """Rk: two 3x3 convolutions, each with a norm, ReLU after the first only, added to the input.

    With `separable`, each convolution is a depthwise one and a pointwise one after it (Howard et al. 2017, arXiv
    1704.04861), without a norm between them.

    Attributes:
        recomputed: whether the backward pass computes the block again, instead of keeping what is computed between its
            input and its output (Chen et al. 2016, arXiv 1604.06174). Results are the same, bit for bit.
    """

    def __init__(self, channels: int, padding: str, dropout: bool, norm: Norm = "instance", separable: bool = False):
        super().__init__()
        pad, bias = _PADS[padding], has_bias(norm)
        self.recomputed, self._draws = False, dropout

        def convolution() -> list[nn.Module]:
            if not separable:
                return [nn.Conv2d(channels, channels, 3, bias=bias)]
            # A bias between the two would be one of the second, which has its own or is followed by a norm.
            depthwise = nn.Conv2d(channels, channels, 3, groups=channels, bias=False)
            return [depthwise, nn.Conv2d(channels, channels, 1, bias=bias)]

        self.conv_block = nn.Sequential(
            pad(1),
            *convolution(),
            norm_layer(norm, channels),
            nn.ReLU(),
            *([nn.Dropout(0.5)] if dropout else []),
            pad(1),
            *convolution(),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.in_less_memory(self._sum, x)

    def _sum(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)

    def in_less_memory(self, compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """`compute(x)`, the block's output, of which the backward pass keeps only `x` if the block is `recomputed`."""
        if not (self.recomputed and torch.is_grad_enabled()):
            return compute(x)
        # Saving the state of random generators is work of the host, which a CUDA graph cannot contain.
        return checkpoint(compute, x, use_reentrant=False, preserve_rng_state=self._draws)


def recompute_blocks(networks: nn.Module) -> None:
    """Let the backward pass compute all residual blocks in `networks` again."""
    for block in networks.modules():
        if isinstance(block, ResidualBlock):
            block.recomputed = True


class ResnetGenerator(nn.Module):
    """Maps N x in_channels x H x W in [-1, 1] to N x out_channels x H x W in (-1, 1)."""

    def __init__(self, in_channels: int, out_channels: int, config: GeneratorConfig):
        super().__init__()
        self.run: Callable[..., Tensor] = nn.Module.__call__  # replaced by use_fused_layers
        self.multiple, self.in_channels = config.multiple, in_channels
        ngf, pad, norm, bias = config.ngf, _PADS[config.padding], config.norm, has_bias(config.norm)

        def block(conv: nn.Module, channels: int) -> list[nn.Module]:
            return [conv, norm_layer(norm, channels), nn.ReLU()]

        self.model = nn.Sequential(
            pad(3),
            *block(nn.Conv2d(in_channels, ngf, 7, bias=bias), ngf),
            *block(nn.Conv2d(ngf, 2 * ngf, 3, stride=2, padding=1, bias=bias), 2 * ngf),
            *block(nn.Conv2d(2 * ngf, 4 * ngf, 3, stride=2, padding=1, bias=bias), 4 * ngf),
            *(
                ResidualBlock(4 * ngf, config.padding, config.dropout, norm, config.separable)
                for _ in range(config.n_blocks)
            ),
            *block(nn.ConvTranspose2d(4 * ngf, 2 * ngf, 3, stride=2, padding=1, output_padding=1, bias=bias), 2 * ngf),
            *block(nn.ConvTranspose2d(2 * ngf, ngf, 3, stride=2, padding=1, output_padding=1, bias=bias), ngf),
            pad(3),
            NarrowConv2d(ngf, out_channels, 7),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.model, x)

    def features(self, x: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """The outputs of some layers of `model`, by their positions in ascending order; those after the last one are
        not computed. 0, the padding, stands for `x` itself.
        """
        found, done = list[Tensor](), 0
        for layer in layers:
            if layer:
                x, done = self.run(self.model[done : layer + 1], x), layer + 1
            found.append(x)
        return found
