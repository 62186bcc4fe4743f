"""Diverged ranks are detected, whichever bit differs."""

from collections.abc import Callable

import pytest
import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.step.distributed import World
from cyclegan_dist.training.hooks.weight_consistency import DivergedError, digest
from cyclegan_dist.training.parts import Parts
from tests.ranks import run_ranks
from tests.training.trainings import before_step, go


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_single_bit_changes_the_digest(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weights = [torch.randn(3, 3).to(dtype), torch.randn(4).to(dtype)]
    before, size = digest(weights), weights[0].element_size()
    for tensor in weights:
        raw = tensor.view(-1).view(torch.uint8)
        for byte in range(tensor.numel() * size):
            for bit in range(8):
                raw[byte] ^= 1 << bit
                assert digest(weights) != before
                raw[byte] ^= 1 << bit
    assert digest(weights) == before
    assert digest(weights[::-1]) != before


def test_a_flipped_bit_on_one_rank_stops_all_ranks_before_the_next_checkpoint(
    tiny_run: Callable[..., Config],
) -> None:
    config = tiny_run(every__compare=8, every__checkpoint=8)

    def work(world: World) -> str:
        def flip(parts: Parts) -> None:
            weight = parts.method.networks["D_B"].get_parameter("model.0.weight")
            weight.data.view(-1).view(torch.int32)[0] ^= 1

        with pytest.raises(DivergedError) as error:
            go(config, world, before_step(6, 1, flip))
        return str(error.value)

    messages = run_ranks(work, 2)
    assert messages[0] == messages[1]
    assert messages[0].startswith("step 8: the weights of rank 1 differ from those of rank 0")
    assert "which resumes from the checkpoint of step 4" in messages[0]
