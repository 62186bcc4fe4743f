"""Options of CoGAN: losses, networks. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.defaults import MethodDefaults
from cyclegan_dist.networks.bounds import Ge
from cyclegan_dist.networks.config import CoupledConfig, DiscriminatorConfig, InitConfig

if TYPE_CHECKING:
    from cyclegan_dist.methods.cogan import CoGAN


@dataclass(frozen=True, kw_only=True)
class CoGANConfig(MethodDefaults):
    """Liu and Tuzel 2016, unpaired, with the networks and the loss of CycleGAN's paper, whose baseline it is."""

    name: Literal["cogan"] = field(default="cogan", init=False)
    """The method; the preset chooses it."""
    gan_mode: Literal["lsgan", "vanilla"] = "lsgan"
    """`lsgan`: least squares. `vanilla`: cross entropy, as in CoGAN's paper."""
    input_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain A: 1 or 3 for pictures; TIFF and `.npy` files may have any number."""
    output_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain B."""
    generator: CoupledConfig = field(default_factory=CoupledConfig)
    """The pair of generators."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """Both discriminators, which share all layers from the third convolution on."""
    init: InitConfig = field(default_factory=InitConfig)
    """Initial weights of all networks."""

    def __post_init__(self) -> None:
        if self.discriminator.scales > 1:
            raise UsageError("cogan joins the layers of one discriminator of each domain: give discriminator.scales 1")

    @property
    def directions(self) -> tuple[str, ...]:
        return ("AB", "BA")

    @property
    def panels(self) -> dict[str, tuple[str, ...]]:
        return {"adversarial": ("G_A", "G_B", "D_A", "D_B")}

    @property
    def losses(self) -> tuple[str, ...]:
        return ("G", "D", "G_A", "G_B", "D_A", "D_B")

    @property
    def least_squares(self) -> dict[str, str]:
        return {"D_B": "AB", "D_A": "BA"} if self.gan_mode == "lsgan" else {}

    @property
    def batch_norm(self) -> bool:
        return self.discriminator.norm == "batch"

    def build(self, *, rank_seed: int) -> "CoGAN":
        from cyclegan_dist.methods.cogan import CoGAN  # loads torch

        return CoGAN(self)
