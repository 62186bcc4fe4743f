"""pix2pix (Isola et al. 2017, arXiv 1611.07004): translation learned from pairs.

G_AB translates A to B; D_B classifies pairs of an image of A and an image of B as real or generated. D_B is updated
first, then G_AB with the new D_B, as in the published code. Images are N x C x H x W in [-1, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cyclegan_dist.methods.contract import Images, Player, PlayerOutput, Term, pick, weighted_sum
from cyclegan_dist.methods.losses import GanMode, discriminator_gan_loss, generator_gan_loss, l1
from cyclegan_dist.methods.pix2pix_config import Pix2PixConfig
from cyclegan_dist.networks.build import build_discriminator, build_generator
from cyclegan_dist.networks.norm import statistics_kept


class Generator(nn.Module):
    """Module of the generator's player (Eq. 4)."""

    def __init__(self, networks: nn.ModuleDict, config: Pix2PixConfig):
        super().__init__()
        self.G_AB = networks["G_AB"]
        D_B, mode = networks["D_B"], config.gan_mode
        # The discriminator is referenced only in this function, because this module does not train it.
        self._terms = (
            Term("G_AB", config.lambda_GAN, lambda x: generator_gan_loss(D_B(concat(x["real_A"], x["fake_B"])), mode)),
            Term("L1_B", config.lambda_L1, lambda x: l1(x["fake_B"], x["real_B"])),
        )

    def forward(self, real_A: Tensor, real_B: Tensor) -> PlayerOutput:
        images = {"real_A": real_A, "real_B": real_B, "fake_B": self.G_AB(real_A)}
        loss, values = weighted_sum(self._terms, images)
        return PlayerOutput(loss, values, {})


class Discriminator(nn.Module):
    """Module of the discriminator's player (Eq. 1, halved as in section 3.3)."""

    def __init__(self, networks: nn.ModuleDict, config: Pix2PixConfig):
        super().__init__()
        self.D_B = networks["D_B"]
        self.mode: GanMode = config.gan_mode

    def forward(self, real_A: Tensor, real_B: Tensor, fake_B: Tensor) -> PlayerOutput:
        logits_real, logits_fake = self.D_B(concat(real_A, real_B)), self.D_B(concat(real_A, fake_B))
        loss = discriminator_gan_loss(logits_real, logits_fake, self.mode)
        return PlayerOutput(loss, {"D_B": loss.detach()}, {})


def concat(image_A: Tensor, image_B: Tensor) -> Tensor:
    """Concatenate images along the channels: N x (C_A + C_B) x H x W."""
    return torch.cat([image_A, image_B], dim=1)


class Pix2Pix:
    """pix2pix as a method: two networks, two players.

    Weights are drawn from torch's global random generator: seed it alike on all ranks before.
    """

    updates: ClassVar[Literal["together", "in_turn"]] = "in_turn"

    def __init__(self, config: Pix2PixConfig):
        self.networks = nn.ModuleDict(
            {
                "G_AB": build_generator(config.input_nc, config.output_nc, config.generator, config.init),
                "D_B": build_discriminator(config.input_nc + config.output_nc, config.discriminator, config.init),
            }
        )
        generator = Generator(self.networks, config)
        opponents = (self.networks["D_B"],)
        players = [Player("G", "generator", generator, pick("real_A", "real_B"), opponents=opponents)]
        if config.lambda_GAN:
            players.insert(0, Player("D", "discriminator", Discriminator(self.networks, config), self._with_fake))
        self.players = tuple(players)

    @property
    def translators(self) -> dict[str, nn.Module]:
        return {"AB": self.networks["G_AB"]}

    @torch.no_grad()
    def _with_fake(self, images: Mapping[str, Tensor]) -> Images:
        """A pair of images, and the translation of the generator before its update."""
        real_A, real_B = images["real_A"], images["real_B"]
        with statistics_kept(self.networks["G_AB"]):  # the generator's own forward updates them
            return {"real_A": real_A, "real_B": real_B, "fake_B": self.networks["G_AB"](real_A)}

    def rank_state(self) -> dict[str, Any]:
        return {}

    def load_rank_state(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        """There is no such state: nothing differs between ranks."""
