"""The yardstick does what the project does, or a ratio of their speeds would mean nothing."""

import random

import pytest
import torch

from benchmarks.reference_step import ImagePool, ReferenceStep
from benchmarks.step import Measurement, disagreement
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step

NGF, BLOCKS, STEPS = 4, 1, 8


@pytest.mark.parametrize("pool_size", [0, 50])
def test_same_losses_and_weights_after_some_updates(pool_size) -> None:
    torch.manual_seed(0)
    networks = {"generator": GeneratorConfig(ngf=NGF, n_blocks=BLOCKS), "discriminator": DiscriminatorConfig(ndf=NGF)}
    method = CycleGAN(CycleGANConfig(pool_size=pool_size, **networks))
    ours = Step(method, OptimConfig(batch_size=2, precision="fp64"), World(0, 1, torch.device("cpu")))
    theirs = ReferenceStep(NGF, BLOCKS, NGF, pool_size)
    theirs.networks.double().load_state_dict(method.networks.state_dict())
    for number in range(STEPS):
        rng = torch.Generator().manual_seed(number)
        a, b = (torch.rand(2, 3, 32, 32, generator=rng, dtype=torch.float64) * 2 - 1 for _ in range(2))
        mine, yours = ours([{"real_A": a, "real_B": b}], 2e-4), theirs(a, b)
        for name, loss in yours.items():
            assert abs(mine[name] - loss) < 1e-9, (number, name)
    probe = torch.rand(1, 3, 32, 32, dtype=torch.float64) * 2 - 1
    for name, network in method.networks.items():
        assert (network(probe) - theirs.networks[name](probe)).abs().max() < 1e-8


def test_a_full_pool_gives_back_earlier_images_half_of_the_time() -> None:
    random.seed(0)
    pool, first = ImagePool(2), torch.zeros(2, 3, 4, 4)
    assert pool.query(first).equal(first)
    shown = torch.cat([pool.query(torch.full((1, 3, 4, 4), float(i))) for i in range(1, 201)])
    earlier = sum(float(image[0, 0, 0]) != i for i, image in enumerate(shown, start=1))
    assert 70 < earlier < 130


def test_the_benchmark_would_notice_another_algorithm() -> None:
    what = Measurement(size=32, ngf=NGF, n_blocks=BLOCKS)
    assert disagreement(what) < 1e-9
    assert disagreement(what, lr_of_theirs=1.01) > 1e-6
