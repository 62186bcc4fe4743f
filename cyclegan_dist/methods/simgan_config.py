"""Options of SimGAN: weights, losses, networks. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.defaults import MethodDefaults
from cyclegan_dist.networks.bounds import Ge
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig

if TYPE_CHECKING:
    from cyclegan_dist.methods.simgan import SimGAN


@dataclass(frozen=True, kw_only=True)
class SimGANConfig(MethodDefaults):
    """Shrivastava et al. 2017 as CycleGAN's paper compares with it (section 5.1.2): A to B, the other direction with
    data.direction BtoA.
    """

    name: Literal["simgan"] = field(default="simgan", init=False)
    """The method; the preset chooses it."""
    gan_mode: Literal["lsgan", "vanilla"] = "lsgan"
    """`lsgan`: least squares, as CycleGAN. `vanilla`: cross entropy."""
    lambda_pixel: Annotated[float, Ge(0)] = 10.0
    """Weight of |G_AB(a) - a|, which keeps a translation near its input; that of the adversarial loss is 1."""
    pool_size: Annotated[int, Ge(0)] = 50
    """Images in the history buffer of each rank. 0 shows the discriminator the newest fakes only."""
    input_nc: Annotated[int, Ge(1)] = 3
    """Channels of both domains: 1 or 3 for pictures; TIFF and `.npy` files may have any number."""
    output_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain B, as many as input_nc."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """The generator."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The discriminator."""
    init: InitConfig = field(default_factory=InitConfig)
    """Initial weights of both networks."""

    def __post_init__(self) -> None:
        if self.input_nc != self.output_nc:
            raise UsageError(
                f"simgan compares translations with their inputs: make input_nc {self.input_nc} and output_nc "
                f"{self.output_nc} equal, or choose feature_gan, bigan or cyclegan"
            )

    @property
    def panels(self) -> dict[str, tuple[str, ...]]:
        return {"adversarial": ("G_AB", "D_B"), "change": ("pixel_B",)}

    @property
    def losses(self) -> tuple[str, ...]:
        return ("G", "D", "G_AB", "pixel_B", "D_B")

    @property
    def least_squares(self) -> dict[str, str]:
        return {"D_B": "AB"} if self.gan_mode == "lsgan" else {}

    @property
    def stored_images(self) -> dict[str, int]:
        return {"B": self.pool_size}

    def build(self, *, rank_seed: int) -> "SimGAN":
        from cyclegan_dist.methods.simgan import SimGAN, pixel_term  # loads torch

        return SimGAN(self, pixel_term(self.lambda_pixel), rank_seed=rank_seed)
