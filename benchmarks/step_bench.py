"""Steps of the project and of the yardstick on the same weights and images, timed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.reference_step import ReferenceStep
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a step computes."""

    size: int = 128
    """Pixels of the images' sides."""
    ngf: int = 32
    """Channels of the generators' first convolution; the discriminators have as many."""
    n_blocks: int = 6
    """Residual blocks."""
    batch: int = 1
    """Images per domain and step."""
    steps: int = 5
    """Steps that are timed together."""
    threads: int = 1
    """Of torch."""


class Bench:
    """Steps on images that lie ready on the device."""

    def __init__(self, what: Workload, dtype: torch.dtype = torch.float32):
        self.what = what
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        rng = torch.Generator().manual_seed(0)
        size = (what.batch, 3, what.size, what.size)
        self.images = {f"real_{d}": (torch.rand(size, generator=rng) * 2 - 1).to(self.device, dtype) for d in "AB"}

    def project(self, **options: Any) -> Step:
        """Our step with these options of `OptimConfig`."""
        what = self.what
        torch.manual_seed(0)
        method = CycleGANConfig(
            generator=GeneratorConfig(ngf=what.ngf, n_blocks=what.n_blocks),
            discriminator=DiscriminatorConfig(ndf=what.ngf),
        )
        return Step(CycleGAN(method), OptimConfig(batch_size=what.batch, **options), World(0, 1, self.device))

    def yardstick(self) -> ReferenceStep:
        """The yardstick with the same weights."""
        what = self.what
        step = ReferenceStep(what.ngf, what.n_blocks, what.ngf, device=str(self.device))
        step.networks.load_state_dict(self.project().method.networks.state_dict())
        return step

    def play(self, step: Step | ReferenceStep) -> Mapping[str, Tensor]:
        """One update."""
        if isinstance(step, ReferenceStep):
            return step(**self.images)
        layout = step.memory_format
        return step([{name: x.contiguous(memory_format=layout) for name, x in self.images.items()}], 2e-4)

    def timed(self, step: Step | ReferenceStep, steps: int) -> tuple[Mapping[str, Tensor], float]:
        """The last one's losses, and the seconds of so many steps."""
        losses: Mapping[str, Tensor] = {}
        self.synchronise()
        began = time.perf_counter()
        for _ in range(steps):
            losses = self.play(step)
        self.synchronise()
        return losses, time.perf_counter() - began

    def synchronise(self) -> None:
        """Wait until a GPU has done all that it was asked for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def images_per_s(self, step: Step | ReferenceStep) -> Callable[[], float]:
        """A work for `alternate`: images of each domain a second."""
        return lambda: self.what.steps * self.what.batch / self.timed(step, self.what.steps)[1]
