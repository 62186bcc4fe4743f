"""The whole update against one written from the paper and the reference's published order, sharing no code with the library.

Six separate generator calls, two Adams, fakes from before the generators' update for the discriminators, history buffers, halved
discriminator losses, lambda_identity relative to the cycle weight.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.step import distributed
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.update import Step

STEPS = 20


class Pool:
    """The image pool as section 4 describes it; its coin and its slot come from the given generator in the same order."""

    def __init__(self, size: int, seed: int):
        self.size, self.stored = size, []
        self.rng = torch.Generator().manual_seed(seed)

    def __call__(self, fakes: Tensor) -> Tensor:
        answer = []
        for fake in fakes.detach():
            if len(self.stored) < self.size:
                self.stored.append(fake)
                answer.append(fake)
            elif float(torch.rand((), generator=self.rng)) >= 0.5:
                i = int(torch.randint(self.size, (), generator=self.rng))
                answer.append(self.stored[i])
                self.stored[i] = fake
            else:
                answer.append(fake)
        return torch.stack(answer)


def published_update(
    nets: dict[str, nn.Module], optimizers: tuple, pools: tuple[Pool, Pool], a: Tensor, b: Tensor
) -> None:
    G, F_, DX, DY = nets["G_AB"], nets["G_BA"], nets["D_A"], nets["D_B"]
    optimizer_G, optimizer_D = optimizers
    lam, idt = 10.0, 0.5
    fake_b, fake_a = G(a), F_(b)
    rec_a, rec_b = F_(fake_b), G(fake_a)
    same_b, same_a = G(b), F_(a)
    for D in (DX, DY):
        D.requires_grad_(False)
    loss = ((DY(fake_b) - 1) ** 2).mean() + ((DX(fake_a) - 1) ** 2).mean()
    loss = loss + lam * (rec_a - a).abs().mean() + lam * (rec_b - b).abs().mean()
    loss = loss + lam * idt * (same_b - b).abs().mean() + lam * idt * (same_a - a).abs().mean()
    optimizer_G.zero_grad()
    loss.backward()
    optimizer_G.step()
    for D in (DX, DY):
        D.requires_grad_(True)
    optimizer_D.zero_grad()
    for D, real, fake in ((DX, a, pools[0](fake_a)), (DY, b, pools[1](fake_b))):
        judged_real, judged_fake = D(real), D(fake)
        ones, zeros = torch.ones_like(judged_real), torch.zeros_like(judged_fake)
        (0.5 * (F.mse_loss(judged_real, ones) + F.mse_loss(judged_fake, zeros))).backward()
    optimizer_D.step()


def test_twenty_steps_equal_an_independent_implementation() -> None:
    torch.manual_seed(0)
    config = CycleGANConfig(
        pool_size=4,
        generator=GeneratorConfig(ngf=4, n_blocks=2),
        discriminator=DiscriminatorConfig(ndf=4, n_layers_D=2),
        init=InitConfig(kind="xavier", gain=1.0),
    )
    method = CycleGAN(config, rank_seed=7)
    # World size 1 and no torch.distributed: the step itself, nothing around it.
    step = Step(method, OptimConfig(precision="fp64"), distributed.World(0, 1, torch.device("cpu")))
    nets = {name: copy.deepcopy(net) for name, net in method.networks.items()}
    adam = [
        torch.optim.Adam([p for name in names for p in nets[name].parameters()], lr=2e-4, betas=(0.5, 0.999))
        for names in (("G_AB", "G_BA"), ("D_A", "D_B"))
    ]
    pools = (Pool(4, seed=14), Pool(4, seed=15))  # CycleGAN seeds A's with 2 * rank_seed and B's with the next
    probe = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    start = {name: net(probe) for name, net in nets.items()}
    for _ in range(STEPS):
        a, b = (torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1 for _ in range(2))
        step([{"real_A": a, "real_B": b}], lr=2e-4)
        published_update(nets, tuple(adam), pools, a, b)
    # Outputs, not weights: biases directly before instance norm have no gradient, and Adam blows their rounding noise up.
    for name, net in nets.items():
        assert (net(probe) - start[name]).abs().max() > 1e-2, f"{name} did not train"
        assert (net(probe) - method.networks[name](probe)).abs().max() < 1e-10, name
