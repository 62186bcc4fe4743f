"""Generators that are plain functions, so that what an evaluation must find is known."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn

from cyclegan_dist.evaluation.measure import Evaluation
from cyclegan_dist.models.snapshot import Snapshot

Measure = Callable[..., Evaluation]  # of a pair of functions


class Function(nn.Module):
    """A generator that is a function of its input."""

    multiple = 4

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function, self.place = function, nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


IDENTITY = Function(lambda x: x)
INVERT = Function(lambda x: -x)
CONSTANT = Function(lambda x: torch.full_like(x, 0.2))
BROKEN = Function(lambda x: x * float("nan"))


@contextmanager
def generators(G_AB: Function, G_BA: Function) -> Iterator[None]:
    """They are every snapshot's generators while the block lasts."""
    pair = {"AB": G_AB, "BA": G_BA}
    with patch.object(Snapshot, "generator", lambda _, direction, device: pair[direction]):
        yield
