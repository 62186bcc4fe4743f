"""Distillation: for each direction a smaller generator, the student, learns to translate as a trained one, the teacher.

Losses after Li et al. 2020 (GAN Compression, arXiv 2003.08936), who show that the teacher's translations are good
targets for unpaired training too; instead of intermediate activations of both, which needs layers that map one to the
other, features of a pretrained network can be compared (after Johnson et al. 2016, arXiv 1603.08155). A direction
needs images of the domain that it translates only; real images of the other are for the adversarial loss, which is
off by default. Images are N x C x H x W in [-1, 1].
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from cyclegan_dist.methods.contract import Images, Player, PlayerOutput, Term, pick, weighted_sum
from cyclegan_dist.methods.distill_config import DistillConfig
from cyclegan_dist.methods.domain_discriminators import DomainDiscriminators
from cyclegan_dist.methods.history import Histories
from cyclegan_dist.methods.losses import GanMode, generator_gan_loss, l1
from cyclegan_dist.networks.build import build_discriminator, build_generator
from cyclegan_dist.networks.deep_features import DeepFeatures
from cyclegan_dist.networks.stored import StoredGenerators


class Students(nn.Module):
    """Module of the students' player: difference to the teacher in pixels and features, and an adversarial loss."""

    def __init__(self, networks: nn.ModuleDict, config: DistillConfig):
        super().__init__()
        self.networks = nn.ModuleDict({f"G_{direction}": networks[f"G_{direction}"] for direction in config.directions})
        self._directions, self._passes_on = config.directions, bool(config.lambda_GAN)
        mode: GanMode = config.gan_mode
        features = DeepFeatures(config.features, config.features_sha256, config.features_size)

        def change_of_features(made: str, taught: str, images: Images) -> Tensor:
            return l1(features(images[made]), features(images[taught]))

        # The discriminators are referenced only in these functions, because this module does not train them.
        self._terms = [
            term
            for direction in config.directions
            for domain, made, taught in [(direction[1], f"fake_{direction[1]}", _taught(direction))]
            for term in (
                Term(f"pixel_{domain}", config.lambda_pixel, lambda x, m=made, t=taught: l1(x[m], x[t])),
                Term(f"feature_{domain}", config.lambda_feature, partial(change_of_features, made, taught)),
                Term(
                    f"G_{direction}",
                    config.lambda_GAN,
                    lambda x, D=f"D_{domain}", m=made: generator_gan_loss(networks[D](x[m]), mode),
                ),
            )
        ]

    def forward(self, **images: Tensor) -> PlayerOutput:
        """Takes `real_A` and the teacher's `taught_B`, and so on."""
        made = {f"fake_{way[1]}": self.networks[f"G_{way}"](images[f"real_{way[0]}"]) for way in self._directions}
        loss, values = weighted_sum(self._terms, {**images, **made})
        return PlayerOutput(loss, values, {name: x.detach() for name, x in made.items()} if self._passes_on else {})


class Distillation:
    """Distillation as a method: a student for each direction, and with `lambda_GAN` a discriminator and a history
    buffer for each. The teacher is not one of `networks`: it is not trained and not saved.

    Weights are drawn from torch's global random generator: seed it alike on all ranks before. `rank_seed` seeds the
    history buffers and must differ between ranks.

    Raises:
        UsageError: at the first update, if the teacher, or the network of the features, cannot be read.
    """

    updates: ClassVar[Literal["together", "in_turn"]] = "together"

    def __init__(self, config: DistillConfig, *, rank_seed: int = 0):
        self._directions, nc = config.directions, config.channels
        self._teacher = StoredGenerators(config.teacher, config.teacher_sha256)
        self.networks = nn.ModuleDict(
            {f"G_{a}{b}": build_generator(nc[a], nc[b], config.generator, config.init) for a, b in self._directions}
        )
        domains = [direction[1] for direction in self._directions] if config.lambda_GAN else []
        for domain in domains:
            self.networks[f"D_{domain}"] = build_discriminator(nc[domain], config.discriminator, config.init)
        self.history = Histories(config.pool_size, {d: f"fake_{d}" for d in domains}, rank_seed=rank_seed)
        opponents = tuple(self.networks[f"D_{domain}"] for domain in domains)
        students = Player("G", "generator", Students(self.networks, config), self._with_taught, opponents=opponents)
        self.players: tuple[Player, ...] = (students,)
        if domains:
            module = DomainDiscriminators(self.networks, domains, config.gan_mode)
            needed = pick(*(f"{kind}_{domain}" for domain in domains for kind in ("real", "fake")))
            recall, draw = self.history.recall, self.history.draw
            self.players += (Player("D", "discriminator", module, needed, recall=recall, draw=draw),)

    @property
    def translators(self) -> dict[str, nn.Module]:
        return {direction: self.networks[f"G_{direction}"] for direction in self._directions}

    def _with_taught(self, images: Mapping[str, Tensor]) -> Images:
        """Images of the domains that are translated, and the teacher's translations of them."""
        found: Images = {}
        for direction in self._directions:
            real = f"real_{direction[0]}"
            found |= {real: images[real], _taught(direction): self._teacher(direction, images[real])}
        return found

    def rank_state(self) -> dict[str, Any]:
        """This rank's history buffers and their random generators."""
        return self.history.state()

    def load_rank_state(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        self.history.load(states, rank, world_size)


def _taught(direction: str) -> str:
    """The name of the teacher's translations."""
    return f"taught_{direction[1]}"
