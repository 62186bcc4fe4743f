"""SimGAN (Shrivastava et al. 2017, arXiv 1612.07828): translation that stays near its input, from unpaired images.

G_AB translates A to B; D_B classifies images of B as real or generated. D_B is updated first, with translations out of
a history; then G_AB with the new D_B. In the published code of CycleGAN's comparison, G_AB learns from activations of
D_B for the image out of the history; here, as in SimGAN's paper, from those for the new translation. Images are
N x C x H x W in [-1, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cyclegan_dist.methods.contract import Images, Player, PlayerOutput, Term, pick, weighted_sum
from cyclegan_dist.methods.feature_gan_config import FeatureGANConfig
from cyclegan_dist.methods.history import Histories
from cyclegan_dist.methods.losses import GanMode, discriminator_gan_loss, generator_gan_loss, l1
from cyclegan_dist.methods.simgan_config import SimGANConfig
from cyclegan_dist.networks.build import build_discriminator, build_generator
from cyclegan_dist.networks.norm import statistics_kept


def pixel_term(weight: float) -> Term:
    """The mean absolute difference between a translation and its input."""
    return Term("pixel_B", weight, lambda x: l1(x["fake_B"], x["real_A"]))


class Generator(nn.Module):
    """Module of the generator's player: adversarial loss, and a term that compares `fake_B` with `real_A`."""

    def __init__(self, networks: nn.ModuleDict, mode: GanMode, content: Term):
        super().__init__()
        self.G_AB = networks["G_AB"]
        D_B = networks["D_B"]
        # The discriminator is referenced only in this function, because this module does not train it.
        self._terms = (Term("G_AB", 1.0, lambda x: generator_gan_loss(D_B(x["fake_B"]), mode)), content)

    def forward(self, real_A: Tensor) -> PlayerOutput:
        loss, values = weighted_sum(self._terms, {"real_A": real_A, "fake_B": self.G_AB(real_A)})
        return PlayerOutput(loss, values, {})


class Discriminator(nn.Module):
    """Module of the discriminator's player, its loss halved."""

    def __init__(self, networks: nn.ModuleDict, mode: GanMode):
        super().__init__()
        self.D_B = networks["D_B"]
        self.mode: GanMode = mode

    def forward(self, real_B: Tensor, fake_B: Tensor) -> PlayerOutput:
        loss = discriminator_gan_loss(self.D_B(real_B), self.D_B(fake_B), self.mode)
        return PlayerOutput(loss, {"D_B": loss.detach()}, {})


class SimGAN:
    """SimGAN as a method, or a relative of it with another `content` term: two networks, two players, a history buffer.

    Weights are drawn from torch's global random generator: seed it alike on all ranks before. `rank_seed` seeds the
    history buffer and must differ between ranks.
    """

    updates: ClassVar[Literal["together", "in_turn"]] = "in_turn"

    def __init__(self, config: SimGANConfig | FeatureGANConfig, content: Term, *, rank_seed: int = 0):
        self.networks = nn.ModuleDict(
            {
                "G_AB": build_generator(config.input_nc, config.output_nc, config.generator, config.init),
                "D_B": build_discriminator(config.output_nc, config.discriminator, config.init),
            }
        )
        self.history = Histories(config.pool_size, {"B": "fake_B"}, rank_seed=rank_seed)
        G, D = Generator(self.networks, config.gan_mode, content), Discriminator(self.networks, config.gan_mode)
        self.players = (
            Player("D", "discriminator", D, self._with_fake, recall=self.history.recall, draw=self.history.draw),
            Player("G", "generator", G, pick("real_A"), opponents=(self.networks["D_B"],)),
        )

    @property
    def translators(self) -> dict[str, nn.Module]:
        return {"AB": self.networks["G_AB"]}

    @torch.no_grad()
    def _with_fake(self, images: Mapping[str, Tensor]) -> Images:
        """An image of B, and the translation of the generator before its update."""
        G_AB = self.networks["G_AB"]
        with statistics_kept(G_AB):  # the generator's own forward updates them
            return {"real_B": images["real_B"], "fake_B": G_AB(images["real_A"])}

    def rank_state(self) -> dict[str, Any]:
        """This rank's history buffer and its random generator."""
        return self.history.state()

    def load_rank_state(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        self.history.load(states, rank, world_size)
