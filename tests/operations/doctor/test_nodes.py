import os
from types import SimpleNamespace
from typing import Any

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.nodes import LocalFleet, Node, call_all, listed, max_ranks
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.world_config import WorldConfig


def test_local_calls_run_in_this_process_and_return_exceptions() -> None:
    fleet = LocalFleet()
    assert [*call_all(fleet, os.getpid).values()] == [os.getpid()]
    (error,) = call_all(fleet, os.stat, "/not/there").values()
    assert isinstance(error, FileNotFoundError)


def node(cpus: int, gpus: int = 0) -> Node:
    return Node(name="n", address="10.0.0.1", cpus=cpus, gpus=gpus)


@pytest.mark.parametrize(
    ("batch", "nodes", "ranks"),
    [(4, [node(3)], 2), (8, [node(3), node(5)], 8), (8, [node(8, 1), node(8, 1)], 2), (1, [node(8)], 1)],
)
def test_as_many_ranks_as_divide_the_batch(batch: int, nodes: list[Node], ranks: int) -> None:
    assert max_ranks(Config(optim=OptimConfig(batch_size=batch)), nodes) == ranks


@pytest.mark.parametrize(("wanted", "ranks"), [(3, 3), ((1, 4), 4)])
def test_the_configured_number_of_ranks_is_the_maximum(wanted: Any, ranks: int) -> None:
    config: Any = SimpleNamespace(world=SimpleNamespace(num_workers=wanted))
    assert max_ranks(config, [node(1)]) == ranks


def test_gpus_are_not_counted_for_a_training_on_cpus() -> None:
    config = Config(world=WorldConfig(device="cpu"), optim=OptimConfig(batch_size=8))
    assert max_ranks(config, [node(4, 1)]) == 4


def test_names_in_a_sentence() -> None:
    assert listed("abc") == "a, b, c"
    assert listed("abcdef") == "a, b, c, d and 2 more"
