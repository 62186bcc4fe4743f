"""Player module of discriminators that judge the latest generated images of their domain, without a history."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from cyclegan_dist.methods.contract import PlayerOutput, Term, weighted_sum
from cyclegan_dist.methods.losses import GanMode, discriminator_gan_loss


class DomainDiscriminators(nn.Module):
    """The sum of the discriminators' losses, each halved as in section 7.1 of CycleGAN's paper.

    Args:
        networks: with `D_A` and `D_B`, as far as `domains` needs them.
        domains: those whose discriminator this player trains.
        mode: adversarial loss.
    """

    def __init__(self, networks: nn.ModuleDict, domains: Sequence[str], mode: GanMode):
        super().__init__()
        self.networks = nn.ModuleDict({domain: networks[f"D_{domain}"] for domain in domains})
        self.mode: GanMode = mode

    def forward(self, **images: Tensor) -> PlayerOutput:
        """Takes `real_A` and `fake_A` for domain A, and so on: N x C x H x W in [-1, 1]."""
        terms = [Term(f"D_{domain}", 1.0, lambda x, at=domain: self._loss(at, x)) for domain in self.networks]
        loss, values = weighted_sum(terms, images)
        return PlayerOutput(loss, values, {})

    def _loss(self, domain: str, images: Mapping[str, Tensor]) -> Tensor:
        D = self.networks[domain]
        return discriminator_gan_loss(D(images[f"real_{domain}"]), D(images[f"fake_{domain}"]), self.mode)
