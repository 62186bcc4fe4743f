"""The discriminators' player of CycleGAN."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from cyclegan_dist.methods.contract import PlayerOutput, Term, weighted_sum
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.methods.diff_augment import augment
from cyclegan_dist.methods.losses import (
    GanMode,
    Logits,
    discriminator_gan_loss,
    gradient_penalty,
    mixed,
    zero_centred_penalty,
)
from cyclegan_dist.networks.build import Discriminator
from cyclegan_dist.networks.multi_scale import MultiScaleDiscriminator

PROJECTED = "projected_"


class Discriminators(nn.Module):
    """Module of the discriminators' player, without those whose generator has no adversarial weight."""

    def __init__(self, networks: nn.ModuleDict, config: CycleGANConfig):
        super().__init__()
        self.mode: GanMode = config.gan_mode
        self.scale = config.lambda_critic if self.mode == "wgangp" else 0.5
        self._penalty, self._penalised = config.penalty, config.gradient_penalty.at
        self._joined = config.discriminator.norm != "batch"
        self._judged, self._policy = judged(config), config.diff_augment
        self.networks = nn.ModuleDict({name: networks[f"D_{name}"] for name in self._judged})

    def forward(self, **images: Tensor) -> PlayerOutput:
        terms: list[Term] = []
        for name, D in self.networks.items():
            both = [images[image] for image in self._judged[name]]
            if self._policy:
                numbers = (images[numbers_of(kind, name)] for kind in ("real", "fake"))
                both = [augment(x, one, self._policy) for x, one in zip(both, numbers, strict=True)]
            terms.append(Term(f"D_{name}", 1.0, lambda _, D=D, both=both: self._loss(D, *both)))
            # The heads of projected ones have spectral norm, and no gradient with respect to pixels is needed.
            penalty = 0.0 if name.startswith(PROJECTED) else self._penalty
            terms.append(Term(f"gp_{name}", penalty, lambda _, D=D, both=both: self._gradient_penalty(D, *both)))
        loss, values = weighted_sum(terms, images)
        return PlayerOutput(loss, values, {})

    def _loss(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        logits_real, logits_fake = _judge(D, real, fake) if self._joined else (D(real), D(fake))
        return discriminator_gan_loss(logits_real, logits_fake, self.mode, self.scale)

    def _gradient_penalty(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        assert isinstance(D, Discriminator | MultiScaleDiscriminator)
        fake, device = fake.to(real.dtype), real.device.type
        # Layer by layer also where the rest runs fused, and not in bf16.
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            if self._penalised == "none":
                return gradient_penalty(D.layer_by_layer, mixed(real, fake))
            if self._penalised == "mix":
                return zero_centred_penalty(D.layer_by_layer, mixed(real, fake))
            points = {"real": (real,), "fake": (fake,), "both": (real, fake)}[self._penalised]
            return torch.stack([zero_centred_penalty(D.layer_by_layer, x) for x in points]).sum()


def judged(config: CycleGANConfig) -> dict[str, tuple[str, str]]:
    """For each discriminator that is trained, by its name without D_, the real and the generated images it judges."""
    weights = {"A": config.lambda_GAN_BA, "B": config.lambda_GAN_AB}
    found = {domain: (f"real_{domain}", f"fake_{domain}") for domain, weight in weights.items() if weight}
    if config.lambda_GAN_cycle:
        found |= {f"cycle_{domain}": (f"real_{domain}", f"rec_{domain}") for domain in "AB"}
    if config.projected.weight:
        found |= {f"{PROJECTED}{domain}": found[domain] for domain in "AB" if domain in found}
    return found


def numbers_of(use: str, name: str) -> str:
    """The name of the random numbers of DiffAugment for the images that the discriminator D_`name` gets: `real` and
    `fake` ones in its own update, generated ones in that of `G`.
    """
    return f"augment_{use}_{name}"


def _judge(D: Callable[[Tensor], Logits], real: Tensor, fake: Tensor) -> tuple[Logits, Logits]:
    """The logits of real and generated images, computed in one call if their shapes agree, as without batch norm the
    outputs are the same.
    """
    if real.shape != fake.shape:
        return D(real), D(fake)
    logits, count = D(torch.cat([real, fake])), len(real)
    if isinstance(logits, Tensor):
        return logits[:count], logits[count:]
    return [one[:count] for one in logits], [one[count:] for one in logits]
