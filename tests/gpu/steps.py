"""Small steps of both methods on a device, and comparisons of two of them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cyclegan_dist.methods.available import METHODS
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step

# One size of networks and images for all tests, so that fused layers are compiled once.
GENERATOR, DISCRIMINATOR = GeneratorConfig(ngf=8, n_blocks=1), DiscriminatorConfig(ndf=8, n_layers_D=1)
SIDE, BATCH, STEPS, LR = 16, 2, 12, 2e-4
CPU = torch.device("cpu")


def build(
    device: torch.device,
    name: str = "cyclegan",
    method: dict[str, Any] | None = None,
    world: World | None = None,
    **optim,
) -> Step:
    """A step with the same weights on every device; `method` and `optim` are options of their configs."""
    torch.manual_seed(0)
    history = {"pool_size": 3} if name == "cyclegan" else {}  # full after two updates
    options = {"generator": GENERATOR, "discriminator": DISCRIMINATOR, **history, **(method or {})}
    config = METHODS[name](**options)
    return Step(config.build(rank_seed=1), OptimConfig(**optim), world or World(0, 1, device))


def images(number: int, step: Step, count: int = BATCH) -> dict[str, Tensor]:
    """The batch of update `number`."""
    rng = torch.Generator().manual_seed(1000 + number)
    real = torch.rand(2, count, 3, SIDE, SIDE, generator=rng, dtype=torch.float64) * 2 - 1
    a, b = real.to(step.world.device, step.dtype)
    return {"real_A": a, "real_B": b}


@dataclass(frozen=True)
class Trained:
    """What updates leave behind, on the CPU.

    Attributes:
        losses: of each update, by name.
        weights: of all networks before the updates, and after.
        averaged: weights of the translators.
        rank_state: of the method: its history.
    """

    losses: list[dict[str, float]]
    weights: tuple[Tensor, Tensor]
    averaged: Tensor
    rank_state: dict[str, Any]


def train(step: Step, steps: int = STEPS, first: int = 0, micro: int = BATCH) -> Trained:
    """Update `steps` times with `micro` images at once. Dropout is seeded as in the trainer."""
    before, losses = weights(step), list[dict[str, Tensor]]()
    for number in range(first, first + steps):
        torch.manual_seed(number)
        parts = {name: x.split(micro) for name, x in images(number, step).items()}
        pieces = [dict(zip(parts, piece, strict=True)) for piece in zip(*parts.values(), strict=True)]
        losses.append(step(pieces, LR))
    step.check()
    averaged = torch.cat([flat(network) for network in step.translators.values()])
    found = [{name: float(value) for name, value in one.items()} for one in losses]
    return Trained(found, (before, weights(step)), averaged, step.method.rank_state())


def flat(network: torch.nn.Module) -> Tensor:
    """All weights without biases: most of these precede a norm, have gradients that are zero but for rounding, and are
    moved by Adam in the direction of that rounding, which changes no output.
    """
    return torch.cat([p.detach().cpu().double().flatten() for p in network.parameters() if p.ndim > 1])


def weights(step: Step) -> Tensor:
    """All weights, on the CPU."""
    return flat(step.method.networks)


def moved_apart(one: Trained, two: Trained) -> float:
    """The distance of the weights of two trainings, relative to the way that they have come."""
    start, end = one.weights
    return float((end - two.weights[1]).norm() / (end - start).norm())


def loss_difference(one: Trained, two: Trained) -> float:
    """The largest difference of a loss, relative to the loss, over all updates."""
    pairs = [(x[name], y[name]) for x, y in zip(one.losses, two.losses, strict=True) for name in x]
    return max(abs(x - y) / max(abs(x), 1e-3) for x, y in pairs)


def history_difference(one: Trained, two: Trained) -> float:
    """The largest difference of a stored image; infinite if random generators or numbers of images differ."""
    largest = 0.0
    for domain, mine in one.rank_state.items():
        other = two.rank_state[domain]
        if len(mine["images"]) != len(other["images"]) or not torch.equal(mine["rng"], other["rng"]):
            return float("inf")
        pairs = zip(mine["images"], other["images"], strict=True)
        largest = max([largest, *(float((x.cpu() - y.cpu()).abs().max()) for x, y in pairs)])
    return largest
