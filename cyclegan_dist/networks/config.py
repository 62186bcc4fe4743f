"""Options of generators and discriminators. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclegan_dist.networks.bounds import Ge, Gt

Init = Literal["normal", "xavier", "kaiming", "orthogonal"]
Norm = Literal["instance", "batch", "none"]


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """A generator G_AB or G_BA (paper, section 7.1)."""

    arch: Literal["resnet", "unet"] = "resnet"
    """`resnet`: c7s1, two downs, residual blocks, two ups. `unet`: skip connections at every scale."""
    ngf: Annotated[int, Ge(1)] = 64
    """Channels of the first convolution."""
    n_blocks: Annotated[int, Ge(0)] = 9
    """Residual blocks of `resnet`: 6 for 128 px, 9 for 256 px and up in the paper."""
    n_downs: Annotated[int, Ge(5)] = 8
    """Down-samplings of `unet`: 7 for 128 px, 8 for 256 px. Image sides must be multiples of 2**n_downs."""
    padding: Literal["reflect", "replicate", "zero"] = "reflect"
    """Padding of the 7x7 convolutions and the residual blocks."""
    dropout: bool = False
    """Dropout 0.5 in residual blocks or inner ups. The paper's CycleGAN uses none."""
    norm: Norm = "instance"
    """`instance`: the paper's. `batch`: batch norm with weights, one rank and no accumulation; translation uses its
    running statistics. `none`. With the last two, convolutions before a norm have no bias, as in the published code."""
    separable: bool = False
    """Each 3x3 convolution of the residual blocks of `resnet` is a depthwise and a pointwise one: an eighth of the
    multiplications, for small generators (Howard et al. 2017, arXiv 1704.04861)."""

    @property
    def multiple(self) -> int:
        """Number that image sides must be a multiple of."""
        return 4 if self.arch == "resnet" else 2**self.n_downs

    @property
    def procedure(self) -> str:
        """How an image is translated, if not by one pass of the network."""
        return ""


@dataclass(frozen=True, kw_only=True)
class CoupledConfig:
    """A pair of generators that make images of both domains from one latent z (`networks/coupled.py`)."""

    arch: Literal["coupled"] = "coupled"
    """z, 1x1 convolution and residual blocks for both domains, then two ups for each."""
    ngf: Annotated[int, Ge(1)] = 64
    """Channels before the last convolution; residual blocks have four times as many."""
    n_blocks: Annotated[int, Ge(0)] = 9
    """Residual blocks."""
    n_z: Annotated[int, Ge(1)] = 8
    """Channels of z, which has a quarter of the image's height and width."""
    z_steps: Annotated[int, Ge(1)] = 200
    """Steps of Adam that translating takes to find z for an image."""

    @property
    def multiple(self) -> int:
        """Number that image sides must be a multiple of."""
        return 4

    @property
    def procedure(self) -> str:
        """How an image is translated, for cards and refusals."""
        return f"translated by optimisation of the latent, {self.z_steps} steps"


AnyGeneratorConfig = GeneratorConfig | CoupledConfig


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """A discriminator D_A or D_B (paper, section 7.1)."""

    arch: Literal["patch", "pixel"] = "patch"
    """`patch`: PatchGAN, judges overlapping patches. `pixel`: 1x1 convolutions, judges single pixels."""
    ndf: Annotated[int, Ge(1)] = 64
    """Channels of the first convolution."""
    n_layers_D: Annotated[int, Ge(1)] = 3
    """Strided layers of `patch`; 3 gives the 70x70 receptive field of the paper."""
    scales: Annotated[int, Ge(1)] = 1
    """Discriminators of this kind: the second judges the image at half of its height and width, the third at a quarter,
    and so on (Wang et al. 2018, arXiv 1711.11585); their losses are averaged. For large images."""
    norm: Norm = "instance"
    """As `norm` of the generators."""
    spectral_norm: bool = False
    """Each convolution's weight is divided by an estimate of its largest singular value, with one power iteration in
    each update (Miyato et al. 2018). An instance norm cancels the scale of the convolution before it: only with `norm`
    none does this bound the slope of the whole discriminator."""

    @property
    def smallest_side(self) -> int:
        """Smallest image side, in pixels, for which instance norm and the head have more than one value per channel."""
        smallest = 2 if self.arch == "pixel" else 3 * 2**self.n_layers_D
        return smallest * 2 ** (self.scales - 1)


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """How weights start. Biases start at 0."""

    kind: Init = "normal"
    """Distribution of the convolution weights; the paper draws N(0, 0.02)."""
    gain: Annotated[float, Gt(0)] = 0.02
    """Standard deviation for `normal`, gain for `xavier` and `orthogonal`. `kaiming` takes none."""
