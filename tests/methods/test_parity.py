"""Parity of the whole CycleGAN update with the baseline in `benchmarks/reference_step.py`.

The baseline is written from the paper and the published order of operations, and shares no code with the library.
"""

import pytest
import torch

from benchmarks.reference_step import ImagePool, ReferenceStep
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step

NGF, BLOCKS, STEPS, RANK_SEED = 4, 2, 20, 7


class TorchRandom:
    """The functions of Python's `random` that the image pool calls, with numbers from a torch generator.

    A history buffer draws from such a generator in the same order, so equal seeds exchange the same images.
    """

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def randint(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))


@pytest.mark.parametrize("pool_size", [0, 4])
def test_twenty_steps_equal_the_independent_baseline(pool_size: int) -> None:
    torch.manual_seed(0)
    config = CycleGANConfig(
        pool_size=pool_size,
        generator=GeneratorConfig(ngf=NGF, n_blocks=BLOCKS),
        discriminator=DiscriminatorConfig(ndf=NGF),
        init=InitConfig(kind="xavier", gain=1.0),
    )
    method = CycleGAN(config, rank_seed=RANK_SEED)
    # World size 1 and no torch.distributed: only the step itself.
    step = Step(method, OptimConfig(batch_size=2, precision="fp64"), World(0, 1, torch.device("cpu")))
    baseline = ReferenceStep(NGF, BLOCKS, NGF)
    baseline.networks.double().load_state_dict(method.networks.state_dict())
    # CycleGAN seeds the buffer of A with 2 * rank_seed and that of B with the next number.
    baseline.pool_A, baseline.pool_B = (ImagePool(pool_size, TorchRandom(2 * RANK_SEED + i)) for i in range(2))
    probe = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    initial = {name: network(probe) for name, network in baseline.networks.items()}
    for number in range(STEPS):
        real_A, real_B = (torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1 for _ in range(2))
        losses, expected = step([{"real_A": real_A, "real_B": real_B}], lr=2e-4), baseline(real_A, real_B)
        for name, loss in expected.items():
            assert abs(losses[name] - loss) < 1e-10, (number, name)
        for domain, pool in (("A", baseline.pool_A), ("B", baseline.pool_B)):
            stored = method.history[domain].images
            assert len(stored) == len(pool.images)
            for image, same in zip(stored, pool.images, strict=True):
                assert (image - same[0]).abs().max() < 1e-10, (number, domain)
    # Outputs, not weights: biases directly before instance norm have no gradient, and Adam amplifies their rounding.
    for name, network in baseline.networks.items():
        assert (network(probe) - initial[name]).abs().max() > 1e-2, f"{name} did not train"
        assert (network(probe) - method.networks[name](probe)).abs().max() < 1e-10, name
