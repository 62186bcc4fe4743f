"""BiGAN (Donahue et al. 2017, arXiv 1605.09782) and ALI (Dumoulin et al. 2017, arXiv 1606.00704) between two domains.

G_AB, the generator, translates A to B; G_BA, the encoder E, translates B to A. D_AB tells pairs of an image of A and an
image of B apart: label 1 for an image of A and its translation, 0 for an image of B and its translation. The generator
is trained towards 0 and the encoder towards 1, after D_AB and one after the other. Where D_AB cannot tell the pairs
apart, G_AB and G_BA are inverse to each other. Images are N x C x H x W in [-1, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cyclegan_dist.methods.bigan_config import BiGANConfig
from cyclegan_dist.methods.contract import Images, Player, PlayerOutput, Term, pick, weighted_sum
from cyclegan_dist.methods.history import Histories
from cyclegan_dist.methods.losses import GanMode, discriminator_gan_loss, generator_gan_loss
from cyclegan_dist.networks.build import build_discriminator, build_generator
from cyclegan_dist.networks.norm import statistics_kept


class Generator(nn.Module):
    """Module of the generator's player."""

    def __init__(self, networks: nn.ModuleDict, mode: GanMode):
        super().__init__()
        self.G_AB = networks["G_AB"]
        D = networks["D_AB"]
        # The discriminator is referenced only in this function, because this module does not train it.
        self._terms = (Term("G_AB", 1.0, lambda pair: generator_gan_loss(D(pair), mode, real=False)),)

    def forward(self, real_A: Tensor) -> PlayerOutput:
        loss, values = weighted_sum(self._terms, torch.cat([real_A, self.G_AB(real_A)], dim=1))
        return PlayerOutput(loss, values, {})


class Encoder(nn.Module):
    """Module of the encoder's player."""

    def __init__(self, networks: nn.ModuleDict, mode: GanMode):
        super().__init__()
        self.G_BA = networks["G_BA"]
        D = networks["D_AB"]
        self._terms = (Term("G_BA", 1.0, lambda pair: generator_gan_loss(D(pair), mode)),)

    def forward(self, real_B: Tensor) -> PlayerOutput:
        loss, values = weighted_sum(self._terms, torch.cat([self.G_BA(real_B), real_B], dim=1))
        return PlayerOutput(loss, values, {})


class Discriminator(nn.Module):
    """Module of the discriminator's player, its loss halved."""

    def __init__(self, networks: nn.ModuleDict, mode: GanMode):
        super().__init__()
        self.D_AB = networks["D_AB"]
        self.mode: GanMode = mode

    def forward(self, pair_A: Tensor, pair_B: Tensor) -> PlayerOutput:
        loss = discriminator_gan_loss(self.D_AB(pair_A), self.D_AB(pair_B), self.mode)
        return PlayerOutput(loss, {"D_AB": loss.detach()}, {})


class BiGAN:
    """BiGAN as a method: three networks, three players, two history buffers of pairs.

    Weights are drawn from torch's global random generator: seed it alike on all ranks before. `rank_seed` seeds the
    history buffers and must differ between ranks.
    """

    updates: ClassVar[Literal["together", "in_turn"]] = "in_turn"

    def __init__(self, config: BiGANConfig, *, rank_seed: int = 0):
        nc, g, init, mode = (config.input_nc, config.output_nc), config.generator, config.init, config.gan_mode
        self.networks = nn.ModuleDict(
            {
                "G_AB": build_generator(nc[0], nc[1], g, init),
                "G_BA": build_generator(nc[1], nc[0], g, init),
                "D_AB": build_discriminator(sum(nc), config.discriminator, init),
            }
        )
        # An image and its translation are one image of a history, so that they stay together.
        self.history = Histories(config.pool_size, {"A": "pair_A", "B": "pair_B"}, rank_seed=rank_seed)
        generator, encoder = Generator(self.networks, mode), Encoder(self.networks, mode)
        discriminator = Discriminator(self.networks, mode)
        recall, draw, opponents = self.history.recall, self.history.draw, (self.networks["D_AB"],)
        self.players = (
            Player("D", "discriminator", discriminator, self._pairs, recall=recall, draw=draw),
            Player("G", "generator", generator, pick("real_A"), opponents=opponents),
            Player("E", "generator", encoder, pick("real_B"), opponents=opponents),
        )

    @property
    def translators(self) -> dict[str, nn.Module]:
        return {"AB": self.networks["G_AB"], "BA": self.networks["G_BA"]}

    @torch.no_grad()
    def _pairs(self, images: Mapping[str, Tensor]) -> Images:
        """An image of each domain with its translation before any update: N x (C_A + C_B) x H x W."""
        G_AB, G_BA, real_A, real_B = self.networks["G_AB"], self.networks["G_BA"], images["real_A"], images["real_B"]
        with statistics_kept(G_AB), statistics_kept(G_BA):  # their own forwards update them
            fake_B, fake_A = G_AB(real_A), G_BA(real_B)
        return {"pair_A": torch.cat([real_A, fake_B], dim=1), "pair_B": torch.cat([fake_A, real_B], dim=1)}

    def rank_state(self) -> dict[str, Any]:
        """This rank's history buffers and their random generators."""
        return self.history.state()

    def load_rank_state(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        self.history.load(states, rank, world_size)
