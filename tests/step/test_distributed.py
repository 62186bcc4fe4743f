import os

import pytest

from cyclegan_dist.step.distributed import World
from tests.ranks import run_ranks
from tests.training.trainings import ALONE


def test_the_first_ranks_are_a_world_of_their_own() -> None:
    def exchange(world: World) -> object:
        first = world.subgroup(2)
        if first is None:
            return "reserve"
        aside = first.side_channel()
        return first.size, first.gather(first.rank), first.max([first.rank]), first.broadcast(first.rank), aside.size

    assert run_ranks(exchange, 3) == [(2, [0, 1], [1.0], 0, 2), (2, [0, 1], [1.0], 0, 2), "reserve"]


def test_the_whole_world_is_itself() -> None:
    assert ALONE.subgroup(1) is ALONE


def test_the_address_is_that_of_the_way_to_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert ALONE.address() == "127.0.0.1"
    monkeypatch.setenv("MASTER_ADDR", "no such host")
    assert ALONE.address() == "unknown"


def test_whoever_was_started_by_a_launcher_knows() -> None:
    assert not ALONE.supervised
    assert run_ranks(lambda world: world.supervised, 2) == [True, True]
    assert "RANK" not in os.environ
