from typing import Any

import pytest
import torch

from cyclegan_dist.config.config import check_config, with_values
from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.sizing import measure as module
from cyclegan_dist.operations.sizing.measure import measure
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.update import Step
from tests.conftest import TINY
from tests.ranks import run_ranks

CONFIG = check_config(TINY, "test")
ALONE = World(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("largest", [0, 2])
def test_sizes_that_do_not_fit_in_memory_are_left_out(monkeypatch: pytest.MonkeyPatch, largest: int) -> None:
    def step(method: Any, optim: Any, world: World) -> Step:
        if optim.batch_size > largest:
            raise MemoryError
        return Step(method, optim, world)

    monkeypatch.setattr(module, "Step", step)
    if largest:
        assert list(measure(CONFIG, ALONE, (4, 2, 1), 12).seconds) == [1, 2]
    else:
        with pytest.raises(UsageError, match="measuring: out of memory with 1 images"):
            measure(CONFIG, ALONE, (4, 2, 1), 12)


def test_a_method_that_takes_pairs_is_measured() -> None:
    assert measure(with_values(CONFIG, {"method.lambda_pair": 1.0}, "test"), ALONE, (1,), 12).seconds[1] > 0


def test_several_ranks_measure_the_same_sizes_and_their_link() -> None:
    found = run_ranks(lambda world: measure(CONFIG, world, (1,), 12), 2)
    for measured in found:
        assert measured.seconds[1] > 0 and measured.link is not None and measured.link.bytes_per_s > 1e7
    assert measure(CONFIG, ALONE, (1,), 12).link is None
