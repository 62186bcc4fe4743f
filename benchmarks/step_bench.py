"""Timed steps of the project and of the baseline on the same weights and images."""

import math
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
    """Size of a step."""

    size: int = 128
    """Pixels of the images' sides."""
    ngf: int = 32
    """Channels of the first convolution, in generators and discriminators."""
    n_blocks: int = 6
    """Residual blocks."""
    batch: int = 1
    """Images per domain and step."""
    steps: int = 5
    """Steps per timing."""
    threads: int = 1
    """Torch's threads."""


def loss_difference(losses: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """The largest relative difference of a loss that both have; infinite if one is not finite."""
    common = [name for name in expected if name in losses]
    each = (abs(float(losses[name]) - float(expected[name])) / abs(float(expected[name])) for name in common)
    return max(value if math.isfinite(value) else math.inf for value in each)


class Bench:
    """Steps on random images that are already on the device."""

    def __init__(self, workload: Workload, dtype: torch.dtype = torch.float32):
        self.workload = workload
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        rng = torch.Generator().manual_seed(0)
        size = (workload.batch, 3, workload.size, workload.size)
        self.images = {f"real_{d}": (torch.rand(size, generator=rng) * 2 - 1).to(self.device, dtype) for d in "AB"}
        self._images: dict[torch.memory_format, dict[str, Tensor]] = {}

    def project(self, **options: Any) -> Step:
        """The project's step with these options of `OptimConfig`."""
        workload = self.workload
        torch.manual_seed(0)
        method = CycleGANConfig(
            generator=GeneratorConfig(ngf=workload.ngf, n_blocks=workload.n_blocks),
            discriminator=DiscriminatorConfig(ndf=workload.ngf),
        )
        return Step(CycleGAN(method), OptimConfig(batch_size=workload.batch, **options), World(0, 1, self.device))

    def baseline(self) -> ReferenceStep:
        """The baseline's step with the same weights."""
        workload = self.workload
        step = ReferenceStep(workload.ngf, workload.n_blocks, workload.ngf, device=str(self.device))
        step.networks.load_state_dict(self.project(fast="off").method.networks.state_dict())
        return step

    def update(self, step: Step | ReferenceStep) -> Mapping[str, Tensor]:
        """One update."""
        if isinstance(step, ReferenceStep):
            return step(**self.images)
        return step([self._in_layout(step.memory_format)], 2e-4)

    def _in_layout(self, layout: torch.memory_format) -> dict[str, Tensor]:
        """The images as a training's loader gives them."""
        if layout not in self._images:
            self._images[layout] = {name: x.contiguous(memory_format=layout) for name, x in self.images.items()}
        return self._images[layout]

    def timed(self, step: Step | ReferenceStep, steps: int) -> tuple[Mapping[str, Tensor], float]:
        """The last step's losses, and the seconds that all steps took."""
        losses: Mapping[str, Tensor] = {}
        self.synchronise()
        began = time.perf_counter()
        for _ in range(steps):
            losses = self.update(step)
        self.synchronise()
        return losses, time.perf_counter() - began

    def synchronise(self) -> None:
        """Wait until the GPU has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def images_per_s(self, step: Step | ReferenceStep) -> Callable[[], float]:
        """A function for `alternate`: images per domain and second."""
        return lambda: self.workload.steps * self.workload.batch / self.timed(step, self.workload.steps)[1]
