import os
from types import SimpleNamespace
from typing import Any

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.fleet import Alone, Node, answered, everywhere, names_of, once_per_host, ranks_of
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.world_config import WorldConfig
from tests.operations.doctor.fleets import Forked


def test_alone_asks_this_process_and_gives_back_what_is_raised() -> None:
    alone = Alone()
    (answer,) = everywhere(alone, os.getpid).values()
    assert answer == os.getpid()
    (error,) = everywhere(alone, os.stat, "/not/there").values()
    assert isinstance(error, FileNotFoundError)


def test_nodes_of_one_host_are_asked_once() -> None:
    assert once_per_host(Forked("a", "b")) == ["a"]


def test_a_node_that_cannot_say_which_host_it_is_counts_as_one() -> None:
    def broken() -> None:
        raise OSError

    assert once_per_host(Forked("a", "b", "c", prepare={"b": broken})) == ["a", "b"]


def test_nodes_without_an_answer_are_red() -> None:
    good, bad = answered("clock", {"a": 1, "b": RuntimeError("died")}, "look")
    assert good == {"a": 1}
    assert [(f.level, f.found) for f in bad] == [("red", "b: RuntimeError: died")]


def node(cpus: int, gpus: int = 0) -> Node:
    return Node(name="n", address="10.0.0.1", cpus=cpus, gpus=gpus)


@pytest.mark.parametrize(
    ("batch", "nodes", "ranks"),
    [(4, [node(3)], 2), (8, [node(3), node(5)], 8), (8, [node(8, 1), node(8, 1)], 2), (1, [node(8)], 1)],
)
def test_as_many_ranks_as_divide_the_batch(batch: int, nodes: list[Node], ranks: int) -> None:
    assert ranks_of(Config(optim=OptimConfig(batch_size=batch)), nodes) == ranks


@pytest.mark.parametrize(("wanted", "ranks"), [(3, 3), ((1, 4), 4)])
def test_the_most_ranks_that_are_asked_for(wanted: Any, ranks: int) -> None:
    config: Any = SimpleNamespace(world=SimpleNamespace(num_workers=wanted))
    assert ranks_of(config, [node(1)]) == ranks


def test_gpus_are_not_counted_for_a_training_on_cpus() -> None:
    config = Config(world=WorldConfig(device="cpu"), optim=OptimConfig(batch_size=8))
    assert ranks_of(config, [node(4, 1)]) == 4


def test_names_in_a_sentence() -> None:
    assert names_of("abc") == "a, b, c"
    assert names_of("abcdef") == "a, b, c, d and 2 more"
