"""Options of BiGAN: losses, networks. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from cyclegan_dist.methods.defaults import MethodDefaults
from cyclegan_dist.networks.bounds import Ge
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig

if TYPE_CHECKING:
    from cyclegan_dist.methods.bigan import BiGAN


@dataclass(frozen=True, kw_only=True)
class BiGANConfig(MethodDefaults):
    """BiGAN (Donahue et al. 2017) and ALI (Dumoulin et al. 2017), with images of A as the latent codes, as CycleGAN's
    paper compares with them (section 5.1.2).
    """

    name: Literal["bigan"] = field(default="bigan", init=False)
    """The method; the preset chooses it."""
    gan_mode: Literal["lsgan", "vanilla"] = "lsgan"
    """`lsgan`: least squares, as CycleGAN. `vanilla`: cross entropy."""
    pool_size: Annotated[int, Ge(0)] = 50
    """Pairs of either kind in the history buffers of each rank. 0 shows the discriminator the newest pairs only."""
    input_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain A: 1 or 3 for pictures; TIFF and `.npy` files may have any number."""
    output_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain B."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """The generator G_AB and the encoder G_BA."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The discriminator, whose input is an image of A together with an image of B."""
    init: InitConfig = field(default_factory=InitConfig)
    """Initial weights of all three networks."""

    @property
    def directions(self) -> tuple[str, ...]:
        return ("AB", "BA")

    @property
    def panels(self) -> dict[str, tuple[str, ...]]:
        return {"adversarial": ("G_AB", "G_BA", "D_AB")}

    @property
    def losses(self) -> tuple[str, ...]:
        return ("G", "E", "D", "G_AB", "G_BA", "D_AB")

    @property
    def least_squares(self) -> dict[str, str]:
        return {"D_AB": "AB"} if self.gan_mode == "lsgan" else {}

    @property
    def stored_images(self) -> dict[str, int]:
        return {"A": 2 * self.pool_size, "B": 2 * self.pool_size}

    def build(self, *, rank_seed: int) -> "BiGAN":
        from cyclegan_dist.methods.bigan import BiGAN  # loads torch

        return BiGAN(self, rank_seed=rank_seed)
