"""Options of pix2pix: weights, losses, networks. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from cyclegan_dist.methods.defaults import MethodDefaults
from cyclegan_dist.networks.bounds import Ge, Gt
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig

if TYPE_CHECKING:
    from cyclegan_dist.methods.pix2pix import Pix2Pix


@dataclass(frozen=True, kw_only=True)
class Pix2PixConfig(MethodDefaults):
    """Isola et al. 2017, for data sets with pairs, with the values of the paper."""

    name: Literal["pix2pix"] = field(default="pix2pix", init=False)
    """The method; the preset chooses it."""
    gan_mode: Literal["vanilla", "lsgan"] = "vanilla"
    """`vanilla`: cross entropy (Eq. 1). `lsgan`: least squares."""
    lambda_L1: Annotated[float, Gt(0)] = 100.0
    """Weight of |G_AB(a) - b| (Eq. 3)."""
    lambda_GAN: Annotated[float, Ge(0)] = 1.0
    """Weight of the adversarial loss of G_AB; 0, the paper's row L1, also switches the discriminator off."""
    input_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain A: 1 or 3 for pictures; TIFF and `.npy` files may have any number."""
    output_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain B."""
    generator: GeneratorConfig = field(default_factory=lambda: GeneratorConfig(arch="unet", dropout=True))
    """The generator; the paper's is a U-Net whose dropout is the only noise."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The discriminator, whose input is an image of A together with an image of B."""
    init: InitConfig = field(default_factory=InitConfig)
    """Initial weights of both networks."""

    @property
    def pairing(self) -> Literal["none", "some", "all"]:
        return "all"

    @property
    def panels(self) -> dict[str, tuple[str, ...]]:
        return {"adversarial": ("G_AB", "D_B"), "L1": ("L1_B",)}

    @property
    def losses(self) -> tuple[str, ...]:
        return ("G", "D", "G_AB", "L1_B", "D_B")

    @property
    def least_squares(self) -> dict[str, str]:
        return {"D_B": "AB"} if self.gan_mode == "lsgan" else {}

    def build(self, *, rank_seed: int) -> "Pix2Pix":
        from cyclegan_dist.methods.pix2pix import Pix2Pix  # loads torch

        return Pix2Pix(self)
