"""Nodes of a cluster, and calls of functions on them."""

import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cyclegan_dist.config.config import Config
from cyclegan_dist.step.cores import usable_cores

Call = tuple[Callable[..., Any], tuple[Any, ...]]
TIMEOUT_S = 60.0  # half of it may pass until a new process has loaded the libraries


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of a cluster.

    Attributes:
        name: unique in the cluster.
        address: at which other nodes reach it.
        is_head: whether it is the head.
        cpus: cores that the cluster gives to ranks.
        gpus: GPUs that it gives to them.
    """

    name: str
    address: str
    is_head: bool = False
    cpus: int = 1
    gpus: int = 0


class Fleet(Protocol):
    """Nodes that functions can be called on."""

    @property
    def nodes(self) -> list[Node]: ...

    def call(self, calls: Mapping[str, Call], timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Call functions of modules on several nodes at once, within `timeout_s` for all of them. Returns by the node's
        name what the function returned, or the exception it raised.
        """
        ...


class LocalFleet:
    """This machine as the only node; functions are called in this process."""

    def __init__(self, gpus: int = 0) -> None:
        cpus = usable_cores()
        self.nodes = [Node(name=socket.gethostname(), address="127.0.0.1", is_head=True, cpus=cpus, gpus=gpus)]

    def call(self, calls: Mapping[str, Call], timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        return {name: result_of(function, *arguments) for name, (function, arguments) in calls.items()}


def result_of(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns, or the exception it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


def call_all(fleet: Fleet, function: Callable[..., Any], *arguments: Any, timeout_s: float = TIMEOUT_S) -> dict:
    """Make the same call on every node."""
    return fleet.call({node.name: (function, arguments) for node in fleet.nodes}, timeout_s)


def listed(names: Iterable[str], most: int = 4) -> str:
    """The first `most` names and the number of others, for a sentence."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def uses_gpus(config: Config, nodes: list[Node]) -> bool:
    """Whether ranks on these nodes compute on GPUs."""
    return config.world.device == "cuda" or (config.world.device == "auto" and any(node.gpus for node in nodes))


def places(config: Config, nodes: list[Node]) -> dict[str, int]:
    """How many ranks each node has room for: one on a GPU, or on a core without GPUs."""
    on_gpu = uses_gpus(config, nodes)
    return {node.name: node.gpus if on_gpu else node.cpus for node in nodes}


def max_ranks(config: Config, nodes: list[Node]) -> int:
    """The most ranks that a training on these nodes can have."""
    wanted: Any = config.world.num_workers
    if most := max(wanted) if isinstance(wanted, tuple | list) else wanted:
        return most
    room = sum(node.gpus if uses_gpus(config, nodes) else node.cpus for node in nodes)
    return config.largest_world(max(1, room))


def ranks_of(config: Config, nodes: list[Node]) -> dict[str, int]:
    """The most ranks that a training has on each node: Ray fills one after the other, in an order that is not known."""
    ranks = max_ranks(config, nodes)
    return {name: min(ranks, room) for name, room in places(config, nodes).items()}
