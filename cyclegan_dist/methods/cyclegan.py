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

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
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
    nothing_chosen,
    pick,
    weighted_sum,
)
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.methods.diff_augment import augment, draw_numbers
from cyclegan_dist.methods.history import Histories
from cyclegan_dist.methods.losses import (
    GanMode,
    discriminator_gan_loss,
    generator_gan_loss,
    gradient_penalty,
    l1,
    mixed,
    zero_centred_penalty,
)
from cyclegan_dist.networks.build import Discriminator, build_discriminator, build_generator


class Cycle:
    """The images of one micro-batch, each computed at most once and only if a term needs it.

    With `joined`, identity images, where they are asked for, are computed in one call with translations. `given` has
    what some terms need besides: pairs, numbers of DiffAugment, the factor of the cycle weights.
    """

    def __init__(
        self,
        real_A: Tensor,
        real_B: Tensor,
        G_AB: nn.Module,
        G_BA: nn.Module,
        identity: tuple[bool, bool],
        joined: bool = True,
        given: Mapping[str, Tensor] | None = None,
    ):
        self.given = given or {}
        self.real_A, self.real_B, self.G_AB, self.G_BA = real_A, real_B, G_AB, G_BA
        self._joins_idt_A, self._joins_idt_B = (joined and asked for asked in identity)
        self._made: dict[str, list[Tensor]] = {}

    def _once(self, key: str, network: nn.Module, *inputs: Tensor) -> list[Tensor]:
        if key not in self._made:
            self._made[key] = _together(network, list(inputs))
        return self._made[key]

    def _of_domain_B(self) -> list[Tensor]:
        return self._once("B", self.G_AB, self.real_A, *([self.real_B] if self._joins_idt_B else []))

    def _of_domain_A(self) -> list[Tensor]:
        return self._once("A", self.G_BA, self.real_B, *([self.real_A] if self._joins_idt_A else []))

    @property
    def fake_B(self) -> Tensor:
        return self._of_domain_B()[0]

    @property
    def fake_A(self) -> Tensor:
        return self._of_domain_A()[0]

    @property
    def idt_B(self) -> Tensor:
        return self._of_domain_B()[1] if self._joins_idt_B else self._once("idt_B", self.G_AB, self.real_B)[0]

    @property
    def idt_A(self) -> Tensor:
        return self._of_domain_A()[1] if self._joins_idt_A else self._once("idt_A", self.G_BA, self.real_A)[0]

    @property
    def rec_A(self) -> Tensor:
        return self._once("rec_A", self.G_BA, self.fake_B)[0]

    @property
    def rec_B(self) -> Tensor:
        return self._once("rec_B", self.G_AB, self.fake_A)[0]


def _together(network: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    """Apply a network to several inputs, in one call if their shapes agree: without batch norm each sample is treated
    separately, so the outputs are the same.
    """
    if len({x.shape for x in inputs}) > 1:
        return [network(x) for x in inputs]
    return list(network(torch.cat(inputs)).split([len(x) for x in inputs]))


class Generators(nn.Module):
    """Module of the generators' player (Eq. 3, minimised over G and F, plus the identity loss of section 5.2)."""

    def __init__(self, networks: nn.ModuleDict, config: CycleGANConfig):
        super().__init__()
        self.G_AB, self.G_BA = networks["G_AB"], networks["G_BA"]
        mode = config.gan_mode
        self._passes_on = [fake for _, fake in _judged(config).values()]
        weight_idt_A = config.lambda_cycle_A * config.lambda_identity
        weight_idt_B = config.lambda_cycle_B * config.lambda_identity
        self._identity = (bool(weight_idt_A), bool(weight_idt_B))
        self._joined = config.generator.norm != "batch"
        policy = config.diff_augment
        # The discriminators are referenced only in these functions, because this module does not train them.

        def gan_loss(name: str, made: Tensor, cycle: Cycle) -> Tensor:
            seen = augment(made, cycle.given[_numbers("G", name)], policy) if policy else made
            return generator_gan_loss(networks[f"D_{name}"](seen), mode)

        ramp: Callable[[Cycle], Tensor] | None = None
        if config.cycle_ramp_images:
            ramp = lambda x: x.given["cycle_factor"]  # noqa: E731
        self._terms = (
            Term("G_AB", config.lambda_GAN_AB, lambda x: gan_loss("B", x.fake_B, x)),
            Term("G_BA", config.lambda_GAN_BA, lambda x: gan_loss("A", x.fake_A, x)),
            Term("cycle_A", config.lambda_cycle_A, lambda x: l1(x.rec_A, x.real_A), ramp),
            Term("cycle_B", config.lambda_cycle_B, lambda x: l1(x.rec_B, x.real_B), ramp),
            Term("idt_A", weight_idt_A, lambda x: l1(x.idt_A, x.real_A), ramp),
            Term("idt_B", weight_idt_B, lambda x: l1(x.idt_B, x.real_B), ramp),
            Term("GAN_cycle_A", config.lambda_GAN_cycle, lambda x: gan_loss("cycle_A", x.rec_A, x)),
            Term("GAN_cycle_B", config.lambda_GAN_cycle, lambda x: gan_loss("cycle_B", x.rec_B, x)),
            Term("pair_A", config.lambda_pair, lambda x: l1(x.G_BA(x.given["pair_B"]), x.given["pair_A"])),
            Term("pair_B", config.lambda_pair, lambda x: l1(x.G_AB(x.given["pair_A"]), x.given["pair_B"])),
        )

    def forward(self, real_A: Tensor, real_B: Tensor, **given: Tensor) -> PlayerOutput:
        """Takes what `Cycle.given` has too."""
        cycle = Cycle(real_A, real_B, self.G_AB, self.G_BA, self._identity, self._joined, given)
        loss, values = weighted_sum(self._terms, cycle)
        return PlayerOutput(loss, values, {name: getattr(cycle, name).detach() for name in self._passes_on})


class Discriminators(nn.Module):
    """Module of the discriminators' player, without those whose generator has no adversarial weight."""

    def __init__(self, networks: nn.ModuleDict, config: CycleGANConfig):
        super().__init__()
        self.mode: GanMode = config.gan_mode
        self.scale = config.lambda_critic if self.mode == "wgangp" else 0.5
        self._penalty, self._penalised = config.penalty, config.gradient_penalty.at
        self._joined = config.discriminator.norm != "batch"
        self._judged, self._policy = _judged(config), config.diff_augment
        self.networks = nn.ModuleDict({name: networks[f"D_{name}"] for name in self._judged})

    def forward(self, **images: Tensor) -> PlayerOutput:
        terms: list[Term] = []
        for name, D in self.networks.items():
            both = [images[image] for image in self._judged[name]]
            if self._policy:
                numbers = (images[_numbers(kind, name)] for kind in ("real", "fake"))
                both = [augment(x, one, self._policy) for x, one in zip(both, numbers, strict=True)]
            terms.append(Term(f"D_{name}", 1.0, lambda _, D=D, both=both: self._loss(D, *both)))
            terms.append(Term(f"gp_{name}", self._penalty, lambda _, D=D, both=both: self._gradient_penalty(D, *both)))
        loss, values = weighted_sum(terms, images)
        return PlayerOutput(loss, values, {})

    def _loss(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        logits_real, logits_fake = _together(D, [real, fake]) if self._joined else (D(real), D(fake))
        return discriminator_gan_loss(logits_real, logits_fake, self.mode, self.scale)

    def _gradient_penalty(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        assert isinstance(D, Discriminator)
        fake, device = fake.to(real.dtype), real.device.type
        # Layer by layer also where the rest runs fused, and not in bf16.
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            if self._penalised == "none":
                return gradient_penalty(D.layer_by_layer, mixed(real, fake))
            if self._penalised == "mix":
                return zero_centred_penalty(D.layer_by_layer, mixed(real, fake))
            points = {"real": (real,), "fake": (fake,), "both": (real, fake)}[self._penalised]
            return torch.stack([zero_centred_penalty(D.layer_by_layer, x) for x in points]).sum()


def _judged(config: CycleGANConfig) -> dict[str, tuple[str, str]]:
    """For each discriminator that is trained, by its name without D_, the real and the generated images it judges."""
    weights = {"A": config.lambda_GAN_BA, "B": config.lambda_GAN_AB}
    judged = {domain: (f"real_{domain}", f"fake_{domain}") for domain, weight in weights.items() if weight}
    if config.lambda_GAN_cycle:
        judged |= {f"cycle_{domain}": (f"real_{domain}", f"rec_{domain}") for domain in "AB"}
    return judged


def _numbers(use: str, judged: str) -> str:
    """The name of the random numbers of DiffAugment for the images that the discriminator D_`judged` gets: `real` and
    `fake` ones in its own update, generated ones in that of `G`.
    """
    return f"augment_{use}_{judged}"


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
        self.history = Histories(config.pool_size, {"A": "fake_A", "B": "fake_B"}, rank_seed=rank_seed)
        judged = _judged(config)
        generators = Generators(self.networks, config)
        opponents = tuple(network for name, network in self.networks.items() if name.startswith("D_"))
        uses = ("G", "real", "fake") if config.diff_augment else ()
        numbers = {use: [_numbers(use, name) for name in judged] for use in uses}
        seen = pick(
            *("real_A", "real_B"),
            *(("pair_A", "pair_B") if config.lambda_pair else ()),
            *(("cycle_factor",) if config.cycle_ramp_images else ()),
            *numbers.get("G", ()),
        )
        weigh = partial(_cycle_factor, config) if config.cycle_ramp_images else constant
        # For both players, so that they do not draw the same.
        choose = draw_numbers([name for names in numbers.values() for name in names]) if numbers else nothing_chosen
        generator = Player("G", "generator", generators, seen, choose=choose, weigh=weigh, opponents=opponents)
        players = [generator]
        if judged:
            needed = [image for both in judged.values() for image in both]
            seen = pick(*needed, *numbers.get("real", ()), *numbers.get("fake", ()))
            discriminators = Discriminators(self.networks, config)
            draw = partial(self.history.draw, keys=[domain for domain in "AB" if domain in judged])
            players.append(Player("D", "discriminator", discriminators, seen, recall=self.history.recall, draw=draw))
        self.players = tuple(players)

    @property
    def translators(self) -> dict[str, nn.Module]:
        return {"AB": self.networks["G_AB"], "BA": self.networks["G_BA"]}

    def rank_state(self) -> dict[str, Any]:
        """This rank's history buffers and their random generators."""
        return self.history.state()

    def load_rank_state(self, states: Sequence[dict[str, Any]], rank: int, world_size: int) -> None:
        self.history.load(states, rank, world_size)
