"""CUT (Park et al. 2020, arXiv 2007.15651): one direction without cycles. Each patch of a translation must be
recognisable, among all patches of the input, as the one at the same position.

G_AB translates A to B, and its first half is the encoder of the contrast; F_A maps its features to unit vectors. D_B is
updated first, then G_AB and F_A with the new D_B, as in the published code. Images are N x C x H x W in [-1, 1].
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cyclegan_dist.methods.contract import Images, Player, PlayerOutput, Term, pick, weighted_sum
from cyclegan_dist.methods.cut_config import CUTConfig
from cyclegan_dist.methods.domain_discriminators import DomainDiscriminators
from cyclegan_dist.methods.losses import generator_gan_loss
from cyclegan_dist.methods.patch_nce import (
    PatchHeads,
    choose_patches,
    chosen_patches,
    contrast_layers,
    patch_names,
    patch_nce,
    translate,
)
from cyclegan_dist.networks.build import build_discriminator
from cyclegan_dist.networks.init import init_weights
from cyclegan_dist.networks.norm import statistics_kept
from cyclegan_dist.networks.resnet import ResnetGenerator


class CUTGenerator(nn.Module):
    """Module of the generator's player (Eq. 5): translator, and heads of the contrast."""

    def __init__(self, G_AB: ResnetGenerator, F_A: PatchHeads, D_B: nn.Module, config: CUTConfig):
        super().__init__()
        self.G_AB, self.F_A, self.tau = G_AB, F_A, config.nce_tau
        self.layers, mode = contrast_layers(config.generator.n_blocks, pixels=True), config.gan_mode
        # The discriminator is referenced only in this function, because this module does not train it.
        self._terms = (
            Term("G_AB", config.lambda_GAN, lambda x: generator_gan_loss(D_B(x["fake_B"]), mode)),
            Term("NCE_A", config.weight_NCE_A, lambda x: self._contrast("A", x["fake_B"], x["keys_A"], x)),
            Term("NCE_B", config.weight_NCE_B, lambda x: self._contrast("B", *self._translate(x["real_B"]), x)),
        )

    def forward(self, **images: Tensor) -> PlayerOutput:
        """Takes `real_A`, `real_B` and the positions of `choose_patches`."""
        fake_B, keys_A = self._translate(images["real_A"])
        loss, values = weighted_sum(self._terms, {**images, "fake_B": fake_B, "keys_A": keys_A})
        return PlayerOutput(loss, values, {})

    def _translate(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        return translate(self.G_AB, image, self.layers)

    def _contrast(self, domain: str, made: Tensor, features: list[Tensor], images: Mapping[str, Any]) -> Tensor:
        """PatchNCE between what was made of a domain's image and the features of that image."""
        positions = chosen_patches(domain, self.layers, images)
        queries = self.F_A(self.G_AB.features(made, self.layers), positions)
        with torch.no_grad():  # keys are targets
            keys = self.F_A(features, positions)
        return patch_nce(queries, keys, self.tau)


class CUT:
    """CUT as a method: three networks, two players.

    Weights are drawn from torch's global random generator: seed it alike on all ranks before.
    """

    updates: ClassVar[Literal["together", "in_turn"]] = "in_turn"

    def __init__(self, config: CUTConfig):
        layers = contrast_layers(config.generator.n_blocks, pixels=True)
        self.G_AB = ResnetGenerator(config.input_nc, config.output_nc, config.generator)
        init_weights(self.G_AB, config.init)
        D_B = build_discriminator(config.output_nc, config.discriminator, config.init)
        F_A = PatchHeads(config.input_nc, config.generator, layers, config.init)
        self.networks = nn.ModuleDict({"G_AB": self.G_AB, "D_B": D_B, "F_A": F_A})
        domains = "AB" if config.weight_NCE_B else "A"
        needed = pick("real_A", "real_B", *(name for domain in domains for name in patch_names(domain, layers)))
        choose = choose_patches(domains, layers, config.nce_patches)
        generator = CUTGenerator(self.G_AB, F_A, D_B, config)
        players = [Player("G", "generator", generator, needed, choose=choose, opponents=(D_B,))]
        if config.lambda_GAN:
            discriminator = DomainDiscriminators(self.networks, "B", config.gan_mode)
            players.insert(0, Player("D", "discriminator", discriminator, self._with_fake))
        self.players = tuple(players)

    @property
    def translators(self) -> dict[str, nn.Module]:
        return {"AB": self.G_AB}

    @torch.no_grad()
    def _with_fake(self, images: Mapping[str, Tensor]) -> Images:
        """An image of B, and the translation of the generator before its update."""
        with statistics_kept(self.G_AB):  # the generator's own forward updates them
            return {"real_B": images["real_B"], "fake_B": self.G_AB(images["real_A"])}

    def rank_state(self) -> dict[str, Any]:
        return {}

    def load_rank_state(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        """There is no such state: nothing differs between ranks."""
