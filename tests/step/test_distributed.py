import os

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.distributed import World, join
from tests.ranks import run_ranks
from tests.training.trainings import ALONE


def test_the_first_ranks_form_a_separate_world() -> None:
    def exchange(world: World) -> object:
        first = world.subgroup(2)
        if first is None:
            return "reserve"
        side = first.side_channel()
        return first.size, first.gather(first.rank), first.max([first.rank]), first.broadcast(first.rank), side.size

    assert run_ranks(exchange, 3) == [(2, [0, 1], [1.0], 0, 2), (2, [0, 1], [1.0], 0, 2), "reserve"]


def test_a_subgroup_of_all_ranks_is_the_same_world() -> None:
    assert ALONE.subgroup(1) is ALONE


def test_an_apple_gpu_is_refused_whatever_torch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (False, True):
        monkeypatch.setattr("torch.cuda.is_available", lambda found=found: found)
        with pytest.raises(UsageError, match=r"device mps cannot be used: torch cannot exchange .* give cpu or auto"):
            join("mps")  # pyright: ignore[reportArgumentType]


def test_the_address_is_that_of_the_connection_to_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert ALONE.address() == "127.0.0.1"
    monkeypatch.setenv("MASTER_ADDR", "no such host")
    assert ALONE.address() == "unknown"


def test_ranks_of_a_launcher_are_supervised() -> None:
    assert not ALONE.supervised
    assert run_ranks(lambda world: world.supervised, 2) == [True, True]
    assert "RANK" not in os.environ
