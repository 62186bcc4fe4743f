"""CoGAN, coupled GANs (Liu and Tuzel 2016, arXiv 1606.07536), as a baseline of CycleGAN's paper (section 5.1).

A pair of generators makes an image of each domain from one latent z; they share their first layers, and discriminators
their last ones, so that both images have the same content. Nothing is translated in training. Afterwards z is sought
for an image of A, and the generator of B shows it (`networks/coupled.py`). Discriminators are updated first, then
generators with the new discriminators, on the same z. Images are N x C x H x W in [-1, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cyclegan_dist.methods.cogan_config import CoGANConfig
from cyclegan_dist.methods.contract import Images, Player, PlayerOutput, Term, pick, weighted_sum
from cyclegan_dist.methods.domain_discriminators import DomainDiscriminators
from cyclegan_dist.methods.losses import generator_gan_loss
from cyclegan_dist.networks.build import build_discriminator
from cyclegan_dist.networks.coupled import CoupledGenerator, couple_discriminators, couple_generators
from cyclegan_dist.networks.init import init_weights
from cyclegan_dist.networks.multi_scale import MultiScaleDiscriminator

SEEDS = 2**63  # z of image i of a batch has the step's seed plus i


class CoGANGenerators(nn.Module):
    """Module of the generators' player: all weights of the pair, shared ones once, so that their gradients are sums
    over both domains.
    """

    def __init__(self, pair: CoupledGenerator, networks: nn.ModuleDict, config: CoGANConfig):
        super().__init__()
        self.pair, mode = pair, config.gan_mode
        D_A, D_B = networks["D_A"], networks["D_B"]
        # The discriminators are referenced only in these functions, because this module does not train them.
        self._terms = (
            Term("G_A", 1.0, lambda x: generator_gan_loss(D_A(x["fake_A"]), mode)),
            Term("G_B", 1.0, lambda x: generator_gan_loss(D_B(x["fake_B"]), mode)),
        )

    def forward(self, z: Tensor) -> PlayerOutput:
        fake_A, fake_B = self.pair.pair(z)
        loss, values = weighted_sum(self._terms, {"fake_A": fake_A, "fake_B": fake_B})
        return PlayerOutput(loss, values, {})


class CoGAN:
    """CoGAN as a method: a translator of each direction with the same weights, two discriminators, two players.

    Weights are drawn from torch's global random generator: seed it alike on all ranks before.
    """

    updates: ClassVar[Literal["together", "in_turn"]] = "in_turn"

    def __init__(self, config: CoGANConfig):
        nc, g = config.channels, config.generator
        self.pair, back = CoupledGenerator(nc["A"], nc["B"], g), CoupledGenerator(nc["B"], nc["A"], g)
        init_weights(self.pair, config.init)
        couple_generators(self.pair, back)
        D_A, D_B = (build_discriminator(nc[domain], config.discriminator, config.init) for domain in "AB")
        assert not isinstance(D_A, MultiScaleDiscriminator) and not isinstance(D_B, MultiScaleDiscriminator)
        couple_discriminators(D_A, D_B)
        self.networks = nn.ModuleDict({"G_AB": self.pair, "G_BA": back, "D_A": D_A, "D_B": D_B})
        generators = CoGANGenerators(self.pair, self.networks, config)
        discriminators = DomainDiscriminators(self.networks, "AB", config.gan_mode)
        self.players = (
            Player("D", "discriminator", discriminators, self._with_fakes),
            Player("G", "generator", generators, pick("z"), choose=self._choose, opponents=(D_A, D_B)),
        )

    @property
    def translators(self) -> dict[str, nn.Module]:
        return {"AB": self.networks["G_AB"], "BA": self.networks["G_BA"]}

    def _choose(self, images: Images, seed: int, first: int) -> Images:
        """A normally distributed z for each image, which is the same on whatever rank it falls."""
        count, _, height, width = images["real_A"].shape
        shape = self.pair.n_z, height // 4, width // 4
        seeds = [torch.Generator().manual_seed((seed + first + i) % SEEDS) for i in range(count)]
        z = [torch.randn(shape, generator=one, dtype=images["real_A"].dtype, device="cpu") for one in seeds]
        return {"z": torch.stack(z)}

    @torch.no_grad()
    def _with_fakes(self, images: Mapping[str, Tensor]) -> Images:
        """Images of both domains, and those of the generators before their update."""
        fake_A, fake_B = self.pair.pair(images["z"])
        return {"real_A": images["real_A"], "real_B": images["real_B"], "fake_A": fake_A, "fake_B": fake_B}

    def rank_state(self) -> dict[str, Any]:
        return {}

    def load_rank_state(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        """There is no such state: nothing differs between ranks."""
