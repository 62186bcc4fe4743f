"""Options of DCLGAN: weights, losses, networks. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.defaults import MethodDefaults
from cyclegan_dist.networks.bounds import Ge, Gt
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig

if TYPE_CHECKING:
    from cyclegan_dist.methods.dual_cut import DualCUT


@dataclass(frozen=True, kw_only=True)
class DualCUTConfig(MethodDefaults):
    """Han et al. 2021 (DCLGAN): two directions, unpaired, contrast of patches instead of cycles. Defaults are the
    paper's.
    """

    name: Literal["dual_cut"] = field(default="dual_cut", init=False)
    """The method; the preset chooses it."""
    gan_mode: Literal["lsgan", "vanilla"] = "lsgan"
    """`lsgan`: least squares. `vanilla`: cross entropy."""
    lambda_GAN: Annotated[float, Gt(0)] = 1.0
    """Weight of the adversarial losses of G_AB and G_BA."""
    lambda_NCE: Annotated[float, Gt(0)] = 2.0
    """Weight of the contrastive loss of each direction."""
    lambda_identity: Annotated[float, Ge(0)] = 1.0
    """Weight of |G_AB(b) - b| and |G_BA(a) - a|."""
    nce_tau: Annotated[float, Gt(0)] = 0.07
    """Temperature of the contrastive loss."""
    nce_patches: Annotated[int, Gt(1)] = 256
    """Patches of an image and layer that are compared in a step."""
    input_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain A: 1 or 3 for pictures; TIFF and `.npy` files may have any number."""
    output_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain B."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """Both generators, ResNets, whose encoders are those of the contrast."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """Both discriminators."""
    init: InitConfig = field(default_factory=lambda: InitConfig(kind="xavier"))
    """Initial weights of all networks, heads of the contrast included."""

    def __post_init__(self) -> None:
        if self.generator.arch != "resnet":
            raise UsageError(f"method {self.name} compares features of a ResNet: give method.generator.arch resnet")
        if self.lambda_identity and self.input_nc != self.output_nc:
            raise UsageError(
                f"the identity loss needs as many channels in A as in B: make input_nc {self.input_nc} and output_nc "
                f"{self.output_nc} equal, or lambda_identity 0"
            )

    @property
    def directions(self) -> tuple[str, ...]:
        return ("AB", "BA")

    @property
    def panels(self) -> dict[str, tuple[str, ...]]:
        return {
            "adversarial": ("G_AB", "G_BA", "D_A", "D_B"),
            "contrast and identity": ("NCE_A", "NCE_B", "idt_A", "idt_B"),
        }

    @property
    def losses(self) -> tuple[str, ...]:
        return ("G", "D", "G_AB", "G_BA", "NCE_A", "NCE_B", "idt_A", "idt_B", "D_A", "D_B")

    @property
    def least_squares(self) -> dict[str, str]:
        return {"D_B": "AB", "D_A": "BA"} if self.gan_mode == "lsgan" else {}

    def build(self, *, rank_seed: int) -> "DualCUT":
        from cyclegan_dist.methods.dual_cut import DualCUT  # loads torch

        return DualCUT(self)
