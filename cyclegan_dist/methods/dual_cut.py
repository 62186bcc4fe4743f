"""DCLGAN, dual contrastive learning (Han et al. 2021, arXiv 2104.07689): two directions, contrast instead of cycles.

Each domain has its own encoder: the first half of the generator that takes its images, with heads F_A or F_B. A
translation is encoded as an image of the domain it was made for. Discriminators are updated first, then generators and
heads with the new discriminators, as in the published code. Images are N x C x H x W in [-1, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cyclegan_dist.methods.contract import Images, Player, PlayerOutput, Term, pick, weighted_sum
from cyclegan_dist.methods.domain_discriminators import DomainDiscriminators
from cyclegan_dist.methods.dual_cut_config import DualCUTConfig
from cyclegan_dist.methods.losses import generator_gan_loss, l1
from cyclegan_dist.methods.patch_nce import (
    DualContrast,
    PatchHeads,
    choose_patches,
    contrast_layers,
    patch_names,
    translate,
)
from cyclegan_dist.networks.build import build_discriminator
from cyclegan_dist.networks.init import init_weights
from cyclegan_dist.networks.norm import statistics_kept
from cyclegan_dist.networks.resnet import ResnetGenerator


class DualCUTGenerators(nn.Module):
    """Module of the generators' player (Eq. 9): both translators, and heads of both encoders."""

    def __init__(self, networks: nn.ModuleDict, translators: Mapping[str, ResnetGenerator], config: DualCUTConfig):
        super().__init__()
        self.G_AB, self.G_BA = translators["AB"], translators["BA"]
        self.F_A, self.F_B = networks["F_A"], networks["F_B"]
        D_A, D_B, mode = networks["D_A"], networks["D_B"], config.gan_mode
        self.layers = contrast_layers(config.generator.n_blocks, pixels=False)
        encoders, heads = {"A": self.G_AB, "B": self.G_BA}, {"A": self.F_A, "B": self.F_B}
        contrast = DualContrast(encoders, heads, self.layers, config.nce_tau)
        # The discriminators are referenced only in these functions, because this module does not train them.
        self._terms = (
            Term("G_AB", config.lambda_GAN, lambda x: generator_gan_loss(D_B(x["fake_B"]), mode)),
            Term("G_BA", config.lambda_GAN, lambda x: generator_gan_loss(D_A(x["fake_A"]), mode)),
            Term("NCE_A", config.lambda_NCE, lambda x: contrast("A", x["features_A"], x["fake_B"], x)),
            Term("NCE_B", config.lambda_NCE, lambda x: contrast("B", x["features_B"], x["fake_A"], x)),
            Term("idt_A", config.lambda_identity, lambda x: l1(self.G_BA(x["real_A"]), x["real_A"])),
            Term("idt_B", config.lambda_identity, lambda x: l1(self.G_AB(x["real_B"]), x["real_B"])),
        )

    def forward(self, **images: Tensor) -> PlayerOutput:
        """Takes `real_A`, `real_B` and the positions of `choose_patches`."""
        seen: dict[str, Any] = dict(images)
        seen["fake_B"], seen["features_A"] = translate(self.G_AB, images["real_A"], self.layers)
        seen["fake_A"], seen["features_B"] = translate(self.G_BA, images["real_B"], self.layers)
        loss, values = weighted_sum(self._terms, seen)
        return PlayerOutput(loss, values, {})


class DualCUT:
    """DCLGAN as a method: six networks, two players.

    Weights are drawn from torch's global random generator: seed it alike on all ranks before.
    """

    updates: ClassVar[Literal["together", "in_turn"]] = "in_turn"

    def __init__(self, config: DualCUTConfig):
        nc, g, init = config.channels, config.generator, config.init
        layers = contrast_layers(g.n_blocks, pixels=False)
        self._translators = {way: ResnetGenerator(nc[way[0]], nc[way[1]], g) for way in ("AB", "BA")}
        for network in self._translators.values():
            init_weights(network, init)
        self.networks = nn.ModuleDict(
            {
                **{f"G_{way}": network for way, network in self._translators.items()},
                **{f"D_{domain}": build_discriminator(nc[domain], config.discriminator, init) for domain in "AB"},
                **{f"F_{domain}": PatchHeads(nc[domain], g, layers, init) for domain in "AB"},
            }
        )
        names = [name for domain in "AB" for name in patch_names(domain, layers)]
        opponents = (self.networks["D_A"], self.networks["D_B"])
        generators = Player(
            "G",
            "generator",
            DualCUTGenerators(self.networks, self._translators, config),
            pick("real_A", "real_B", *names),
            choose=choose_patches("AB", layers, config.nce_patches),
            opponents=opponents,
        )
        discriminators = DomainDiscriminators(self.networks, "AB", config.gan_mode)
        self.players = (Player("D", "discriminator", discriminators, self._with_fakes), generators)

    @property
    def translators(self) -> dict[str, nn.Module]:
        return dict(self._translators)

    @torch.no_grad()
    def _with_fakes(self, images: Mapping[str, Tensor]) -> Images:
        """Images of both domains, and the translations of the generators before their update."""
        real_A, real_B = images["real_A"], images["real_B"]
        with statistics_kept(self.networks):  # the generators' own forward updates them
            fake_B, fake_A = self._translators["AB"](real_A), self._translators["BA"](real_B)
        return {"real_A": real_A, "real_B": real_B, "fake_A": fake_A, "fake_B": fake_B}

    def rank_state(self) -> dict[str, Any]:
        return {}

    def load_rank_state(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        """There is no such state: nothing differs between ranks."""
