"""CycleGAN (Zhu et al. 2017, arXiv 1703.10593).

| here | paper | meaning |
|---|---|---|
| G_AB, G_BA | G, F | generators A -> B and B -> A |
| D_A, D_B | D_X, D_Y | discriminators of domain A and of domain B (the reference code has these two names reversed) |
| fake_B, rec_A | G(x), F(G(x)) | translation and reconstruction; the suffix is the domain of the image |
| idt_B | G(y) | G_AB applied to an image of domain B |
| pair_A, pair_B | | images that are known to show the same, if `lambda_pair` is set |

Images are N x C x H x W in [-1, 1].
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cyclegan_dist.methods.contract import (
    Images,
    Player,
    PlayerOutput,
    Term,
    constant,
    pick,
    weighted_sum,
)
from cyclegan_dist.methods.cycle import Cycle
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.methods.cyclegan_discriminators import PROJECTED, Discriminators, judged, numbers_of
from cyclegan_dist.methods.diff_augment import augment, draw_numbers
from cyclegan_dist.methods.history import Histories
from cyclegan_dist.methods.losses import feature_distance, generator_gan_loss, l1
from cyclegan_dist.methods.patch_nce import DualContrast, PatchHeads, choose_patches, contrast_layers, patch_names
from cyclegan_dist.networks.build import build_discriminator, build_generator
from cyclegan_dist.networks.frozen_features import FrozenFeatures
from cyclegan_dist.networks.pretrained import COMPARED_LAYERS
from cyclegan_dist.networks.projected import ProjectedDiscriminator

NCE_TAU, NCE_PATCHES = 0.07, 256  # the defaults of `dual_cut`


class Generators(nn.Module):
    """Module of the generators' player (Eq. 3, minimised over G and F, plus the identity loss of section 5.2)."""

    def __init__(self, networks: nn.ModuleDict, config: CycleGANConfig):
        super().__init__()
        self.G_AB, self.G_BA = networks["G_AB"], networks["G_BA"]
        mode = config.gan_mode
        self._passes_on = sorted({fake for _, fake in judged(config).values()})
        weight_idt_A = config.lambda_cycle_A * config.lambda_identity
        weight_idt_B = config.lambda_cycle_B * config.lambda_identity
        self._identity = (bool(weight_idt_A), bool(weight_idt_B))
        pixels = float(config.cycle_distance != "features")
        features = config.lambda_cycle_features if config.cycle_distance != "l1" else 0.0
        self._features: FrozenFeatures | None = None
        if features:
            layers = COMPARED_LAYERS[config.cycle_features.partition(":")[0]]
            self._features = FrozenFeatures(config.cycle_features, layers)
        self._layers, contrast = (), None
        if config.lambda_NCE:
            self.F_A, self.F_B = networks["F_A"], networks["F_B"]
            self._layers = contrast_layers(config.generator.n_blocks, pixels=False)
            encoders, heads = {"A": networks["G_AB"], "B": networks["G_BA"]}, {"A": self.F_A, "B": self.F_B}
            contrast = DualContrast(encoders, heads, self._layers, NCE_TAU)
        self._joined = config.generator.norm != "batch"
        policy, projected = config.diff_augment, config.projected.weight
        # The discriminators are referenced only in these functions, because this module does not train them.

        def gan_loss(name: str, made: Tensor, cycle: Cycle) -> Tensor:
            seen = augment(made, cycle.given[numbers_of("G", name)], policy) if policy else made
            return generator_gan_loss(networks[f"D_{name}"](seen), mode)

        def changed(x: Cycle, made: str, domain: str) -> Tensor:
            return feature_distance(x.features_of(f"{made}_{domain}"), x.features_of(f"real_{domain}"))

        def contrasted(x: Cycle, domain: str) -> Tensor:
            assert contrast is not None
            made = x.fake_B if domain == "A" else x.fake_A
            return contrast(domain, x.encoded(domain), made, x.given)

        ramp: Callable[[Cycle], Tensor] | None = None
        if config.cycle_ramp_images:
            ramp = lambda x: x.given["cycle_factor"]  # noqa: E731
        self._terms = (
            Term("G_AB", config.lambda_GAN_AB, lambda x: gan_loss("B", x.fake_B, x)),
            Term("G_BA", config.lambda_GAN_BA, lambda x: gan_loss("A", x.fake_A, x)),
            Term("cycle_A", pixels * config.lambda_cycle_A, lambda x: l1(x.rec_A, x.real_A), ramp),
            Term("cycle_B", pixels * config.lambda_cycle_B, lambda x: l1(x.rec_B, x.real_B), ramp),
            Term("idt_A", pixels * weight_idt_A, lambda x: l1(x.idt_A, x.real_A), ramp),
            Term("idt_B", pixels * weight_idt_B, lambda x: l1(x.idt_B, x.real_B), ramp),
            Term("GAN_cycle_A", config.lambda_GAN_cycle, lambda x: gan_loss("cycle_A", x.rec_A, x)),
            Term("GAN_cycle_B", config.lambda_GAN_cycle, lambda x: gan_loss("cycle_B", x.rec_B, x)),
            Term("pair_A", config.lambda_pair, lambda x: l1(x.G_BA(x.given["pair_B"]), x.given["pair_A"])),
            Term("pair_B", config.lambda_pair, lambda x: l1(x.G_AB(x.given["pair_A"]), x.given["pair_B"])),
            Term("cycle_features_A", features * config.lambda_cycle_A, lambda x: changed(x, "rec", "A"), ramp),
            Term("cycle_features_B", features * config.lambda_cycle_B, lambda x: changed(x, "rec", "B"), ramp),
            Term("idt_features_A", features * weight_idt_A, lambda x: changed(x, "idt", "A"), ramp),
            Term("idt_features_B", features * weight_idt_B, lambda x: changed(x, "idt", "B"), ramp),
            Term("GAN_projected_B", projected * config.lambda_GAN_AB, lambda x: gan_loss("projected_B", x.fake_B, x)),
            Term("GAN_projected_A", projected * config.lambda_GAN_BA, lambda x: gan_loss("projected_A", x.fake_A, x)),
            Term("NCE_A", config.lambda_NCE, lambda x: contrasted(x, "A")),
            Term("NCE_B", config.lambda_NCE, lambda x: contrasted(x, "B")),
        )

    def forward(self, real_A: Tensor, real_B: Tensor, **given: Tensor) -> PlayerOutput:
        """Takes what `Cycle.given` has too."""
        cycle = Cycle(
            *(real_A, real_B, self.G_AB, self.G_BA, self._identity, self._joined, given),
            layers=self._layers,
            network=self._features,
        )
        loss, values = weighted_sum(self._terms, cycle)
        return PlayerOutput(loss, values, {name: getattr(cycle, name).detach() for name in self._passes_on})


def _cycle_factor(config: CycleGANConfig, nimg: int) -> Images:
    """The factor of the cycle weights after `nimg` images: from 1 to `lambda_cycle_end` in a straight line."""
    done = min(1.0, nimg / config.cycle_ramp_images)
    return {
        "cycle_factor": torch.tensor(1.0 + done * (config.lambda_cycle_end - 1.0), dtype=torch.float64, device="cpu")
    }


class CycleGAN:
    """CycleGAN as a method: four networks, or six with `lambda_GAN_cycle`, two players, two history buffers.

    Weights are drawn from torch's global random generator: seed it alike on all ranks before. `rank_seed` seeds the
    history buffers and must differ between ranks.
    """

    updates: ClassVar[Literal["together", "in_turn"]] = "together"

    def __init__(self, config: CycleGANConfig, *, rank_seed: int = 0):
        nc, g, d, init = (config.input_nc, config.output_nc), config.generator, config.discriminator, config.init
        self.networks = nn.ModuleDict(
            {
                "G_AB": build_generator(nc[0], nc[1], g, init),
                "G_BA": build_generator(nc[1], nc[0], g, init),
                "D_A": build_discriminator(nc[0], d, init),
                "D_B": build_discriminator(nc[1], d, init),
            }
        )
        if config.lambda_GAN_cycle:
            for domain, channels in zip("AB", nc, strict=True):
                self.networks[f"D_cycle_{domain}"] = build_discriminator(channels, d, init)
        trained = judged(config)
        for domain, channels in zip("AB", nc, strict=True):
            if f"{PROJECTED}{domain}" in trained:
                chosen = config.projected
                self.networks[f"D_{PROJECTED}{domain}"] = ProjectedDiscriminator(chosen.features, chosen.size, init)
            if config.lambda_NCE:
                layers = contrast_layers(g.n_blocks, pixels=False)
                self.networks[f"F_{domain}"] = PatchHeads(channels, g, layers, init)
        self.history = Histories(config.pool_size, {"A": "fake_A", "B": "fake_B"}, rank_seed=rank_seed)
        players = [self._generators(config)]
        if trained:
            needed = [image for both in trained.values() for image in both]
            numbers = [numbers_of(kind, name) for kind in ("real", "fake") for name in trained]
            seen = pick(*needed, *(numbers if config.diff_augment else ()))
            discriminators = Discriminators(self.networks, config)
            draw = partial(self.history.draw, keys=[domain for domain in "AB" if domain in trained])
            players.append(Player("D", "discriminator", discriminators, seen, recall=self.history.recall, draw=draw))
        self.players = tuple(players)

    def _generators(self, config: CycleGANConfig) -> Player:
        """The generators' player, which makes the random choices of both."""
        chooses = list[Callable[[Images, int, int], Images]]()
        own = list[str]()  # of what is chosen, what this player takes
        if config.diff_augment:
            # For both players, so that they do not draw the same.
            chooses.append(draw_numbers([numbers_of(u, n) for u in ("G", "real", "fake") for n in judged(config)]))
            own += [numbers_of("G", name) for name in judged(config)]
        if config.lambda_NCE:
            layers = contrast_layers(config.generator.n_blocks, pixels=False)
            chooses.append(choose_patches("AB", layers, NCE_PATCHES))
            own += [name for domain in "AB" for name in patch_names(domain, layers)]

        def choose(images: Images, seed: int, first: int) -> Images:
            return {name: x for one in chooses for name, x in one(images, seed, first).items()}

        seen = pick(
            *("real_A", "real_B"),
            *(("pair_A", "pair_B") if config.lambda_pair else ()),
            *(("cycle_factor",) if config.cycle_ramp_images else ()),
            *own,
        )
        weigh = partial(_cycle_factor, config) if config.cycle_ramp_images else constant
        opponents = tuple(network for name, network in self.networks.items() if name.startswith("D_"))
        generators = Generators(self.networks, config)
        return Player("G", "generator", generators, seen, choose=choose, weigh=weigh, opponents=opponents)

    @property
    def translators(self) -> dict[str, nn.Module]:
        return {"AB": self.networks["G_AB"], "BA": self.networks["G_BA"]}

    def rank_state(self) -> dict[str, Any]:
        """This rank's history buffers and their random generators."""
        return self.history.state()

    def load_rank_state(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        self.history.load(states, rank, world_size)
