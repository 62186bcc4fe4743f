"""The nodes that are looked at, and how something is asked of them."""

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.findings import Finding, told

Call = tuple[Callable[..., Any], tuple[Any, ...]]
PATIENCE_S = 60.0  # a node that has to load the libraries first may take half of it


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of a cluster.

    Attributes:
        name: what it is called in the table.
        address: that other nodes reach it at.
        is_head: whether it is the head.
        cpus: cores that the cluster gives to ranks.
        gpus: as many GPUs.
    """

    name: str
    address: str
    is_head: bool = False
    cpus: int = 1
    gpus: int = 0


class Fleet(Protocol):
    """Runs functions on nodes."""

    @property
    def nodes(self) -> list[Node]: ...

    def ask(self, calls: Mapping[str, Call], timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """Call functions on nodes, at once on all of them.

        Args:
            calls: function of a module and its arguments, by the node's name.
            timeout_s: seconds that all of them together may take.

        Returns:
            By the node's name what the function returned, or the exception that came instead.
        """
        ...


class Alone:
    """This machine, in this process."""

    def __init__(self, gpus: int = 0) -> None:
        cpus = len(os.sched_getaffinity(0))
        self.nodes = [Node(name=socket.gethostname(), address="127.0.0.1", is_head=True, cpus=cpus, gpus=gpus)]

    def ask(self, calls: Mapping[str, Call], timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        return {name: _called(call) for name, call in calls.items()}


def _called(call: Call) -> Any:
    function, arguments = call
    try:
        return function(*arguments)
    except Exception as error:  # it is the node's answer
        return error


def everywhere(fleet: Fleet, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """The same call on every node."""
    return fleet.ask({node.name: (function, arguments) for node in fleet.nodes})


def answered(check: str, answers: Mapping[str, Any], advice: str) -> tuple[dict[str, Any], list[Finding]]:
    """The answers of nodes that gave one, and a red finding for each that did not."""
    good = {name: answer for name, answer in answers.items() if not isinstance(answer, Exception)}
    bad = [
        Finding(check=check, level="red", found=f"{name}: {told(answer)}", advice=advice)
        for name, answer in answers.items()
        if isinstance(answer, Exception)
    ]
    return good, bad


def once_per_host(fleet: Fleet) -> list[str]:
    """Names of nodes, one for each host: several nodes of one machine would tell the same about it."""
    hosts: dict[Any, str] = {}
    for name, host in everywhere(fleet, host_here).items():
        hosts.setdefault(host, name)  # an exception is like no other
    return list(hosts.values())


def host_here() -> str:
    """The same for all processes of one machine and one network on it, another elsewhere."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return f"{file.read().strip()} {os.readlink('/proc/self/ns/net')}"


def names_of(names: Iterable[str], most: int = 4) -> str:
    """Some names in a sentence."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def ranks_of(config: Config, nodes: list[Node]) -> int:
    """How many ranks a run would have at the most."""
    wanted: Any = config.world.num_workers
    most = max(wanted) if isinstance(wanted, tuple | list) else wanted
    if most:
        return most
    gpus = sum(node.gpus for node in nodes)
    use_gpu = config.world.device == "cuda" or (config.world.device == "auto" and gpus > 0)
    room = gpus if use_gpu else sum(node.cpus for node in nodes)
    return max((n for n in range(1, room + 1) if config.optim.batch_size % n == 0), default=1)
