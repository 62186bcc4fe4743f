import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.config import OptimConfig


@pytest.mark.parametrize(("room", "size"), [(1, 1), (3, 3), (4, 4), (5, 4), (7, 6), (11, 6), (100, 12)])
def test_the_world_is_the_largest_that_can_share_the_batch(room: int, size: int) -> None:
    assert OptimConfig(batch_size=12).largest_world(room) == size


@pytest.mark.parametrize(
    ("world", "micro", "times"),
    [(4, 3, 1), (3, 2, 2), (2, 3, 2), (1, 3, 4)],
)
def test_fewer_ranks_do_not_use_larger_micro_batches(world: int, micro: int, times: int) -> None:
    assert OptimConfig(batch_size=12).micro_batches(world, largest=4) == (micro, times)
    assert micro * times * world == 12


def test_a_fixed_number_of_ranks_computes_its_share_at_once() -> None:
    assert OptimConfig(batch_size=12).micro_batches(2) == (6, 1)
    assert OptimConfig(batch_size=12, micro_batch=2).micro_batches(2, largest=4) == (2, 3)
    with pytest.raises(UsageError, match="cannot be shared by 5 ranks"):
        OptimConfig(batch_size=12).micro_batches(5)
