"""Options of CUT: weights, losses, networks. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.defaults import MethodDefaults
from cyclegan_dist.networks.bounds import Ge, Gt
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig

if TYPE_CHECKING:
    from cyclegan_dist.methods.cut import CUT


@dataclass(frozen=True, kw_only=True)
class CUTConfig(MethodDefaults):
    """Park et al. 2020: one direction, unpaired, contrast of patches instead of cycles. Defaults are the paper's."""

    name: Literal["cut"] = field(default="cut", init=False)
    """The method; the preset chooses it."""
    gan_mode: Literal["lsgan", "vanilla"] = "lsgan"
    """`lsgan`: least squares. `vanilla`: cross entropy."""
    lambda_GAN: Annotated[float, Ge(0)] = 1.0
    """Weight of the adversarial loss of G_AB; 0 also switches the discriminator off."""
    lambda_NCE: Annotated[float, Gt(0)] = 1.0
    """Weight of the contrastive loss between images and what G_AB makes of them."""
    nce_idt: bool = True
    """Half of lambda_NCE is for images of B, which G_AB should keep; without it all is for images of A."""
    nce_tau: Annotated[float, Gt(0)] = 0.07
    """Temperature of the contrastive loss."""
    nce_patches: Annotated[int, Gt(1)] = 256
    """Patches of an image and layer that are compared in a step."""
    input_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain A: 1 or 3 for pictures; TIFF and `.npy` files may have any number."""
    output_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain B: as many, because G_AB also encodes images of B."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """The generator, a ResNet, whose encoder is that of the contrast."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The discriminator."""
    init: InitConfig = field(default_factory=lambda: InitConfig(kind="xavier"))
    """Initial weights of all networks, heads of the contrast included."""

    def __post_init__(self) -> None:
        if self.generator.arch != "resnet":
            raise UsageError(f"method {self.name} compares features of a ResNet: give method.generator.arch resnet")
        if self.input_nc != self.output_nc:
            raise UsageError(
                f"method {self.name} encodes images of both domains with one network: make input_nc {self.input_nc} "
                f"and output_nc {self.output_nc} equal"
            )

    @property
    def weight_NCE_A(self) -> float:
        """Weight of the contrast of real_A and fake_B."""
        return self.lambda_NCE / 2 if self.nce_idt else self.lambda_NCE

    @property
    def weight_NCE_B(self) -> float:
        """Weight of the contrast of real_B and idt_B."""
        return self.lambda_NCE / 2 if self.nce_idt else 0.0

    @property
    def panels(self) -> dict[str, tuple[str, ...]]:
        return {"adversarial": ("G_AB", "D_B"), "contrast": ("NCE_A", "NCE_B")}

    @property
    def losses(self) -> tuple[str, ...]:
        return ("G", "D", "G_AB", "NCE_A", "NCE_B", "D_B")

    @property
    def least_squares(self) -> dict[str, str]:
        return {"D_B": "AB"} if self.gan_mode == "lsgan" else {}

    def build(self, *, rank_seed: int) -> "CUT":
        from cyclegan_dist.methods.cut import CUT  # loads torch

        return CUT(self)
