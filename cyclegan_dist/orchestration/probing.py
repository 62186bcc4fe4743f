"""Ray: the doctor's questions on the nodes of a cluster. One process on each node answers them."""

import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.examination import CLUSTER, Target
from cyclegan_dist.operations.doctor.findings import Finding
from cyclegan_dist.operations.doctor.fleet import PATIENCE_S, Alone, Call, Node
from cyclegan_dist.orchestration.cluster import last_line

CONNECT_S = 5.0  # ray.init waits for minutes where nobody listens
START_S = 60.0  # for a node to start a process: it loads the libraries first
HEAD = "node:__internal_head__"  # a resource that Ray gives to the head


class RayFleet:
    """The nodes of the cluster that this process is joined to.

    Args:
        nodes: the cluster's, by their ids.
        gpus: whether each process gets a GPU.
    """

    def __init__(self, nodes: Mapping[str, Node], *, gpus: bool = False):
        self.nodes = list(nodes.values())
        self._ids = {node.name: node_id for node_id, node in nodes.items()}
        self._gpus, self._processes = gpus, {}

    def ask(self, calls: Mapping[str, Call], timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """As `Fleet.ask` has it. A process that does not answer in time is killed, and the next question starts
        another.
        """
        asked = {name: self._process(name).run.remote(function, *args) for name, (function, args) in calls.items()}
        ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=timeout_s) if asked else ([], [])
        return {name: self._answer(name, answer, answer in ready, timeout_s) for name, answer in asked.items()}

    def _process(self, name: str) -> Any:
        if name not in self._processes:
            there = NodeAffinitySchedulingStrategy(self._ids[name], soft=False)
            options = _Process.options(num_cpus=0, num_gpus=int(self._gpus), scheduling_strategy=there)
            self._processes[name] = options.remote()
        return self._processes[name]

    def _answer(self, name: str, answer: Any, is_ready: bool, timeout_s: float) -> Any:
        if not is_ready:
            self._end(name)
            return TimeoutError(f"no answer within {timeout_s:.0f} s")
        try:
            return ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            return error.cause if isinstance(error.cause, Exception) else RuntimeError(last_line(error))
        except ray.exceptions.RayError as error:  # the process or its node has died
            self._end(name)
            return RuntimeError(last_line(error))

    def _end(self, name: str) -> None:
        ray.kill(self._processes.pop(name))

    def close(self) -> None:
        """End the processes."""
        for name in list(self._processes):
            self._end(name)


@ray.remote
class _Process:
    """What runs on a node: it calls what it is sent."""

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


@contextlib.contextmanager
def patient(config: Config) -> Iterator[Target]:
    """The cluster of RAY_ADDRESS, joined for the block; where it cannot be joined this machine, and why."""
    address = os.environ["RAY_ADDRESS"]
    try:
        dashboard = _join(address)
        nodes = _nodes()
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        ray.shutdown()
        advice = "See that its head runs and can be reached from here, and that RAY_AUTH_TOKEN is the cluster's."
        trouble = Finding(
            check=CLUSTER, level="red", found=f"no Ray cluster {address}: {last_line(error)}", advice=advice
        )
        yield Target(config=config, fleet=Alone(), troubles=[trouble])
        return
    fleet = RayFleet(nodes)
    nccl, troubles = _with_gpus(nodes)
    try:
        yield Target(config=config, fleet=fleet, address=address, dashboard=dashboard, nccl=nccl, troubles=troubles)
    finally:
        for each in (fleet, nccl):
            if each is not None:
                each.close()
        ray.shutdown()


def _join(address: str) -> str:
    """Join the cluster. Returns the address of its dashboard, or nothing.

    Not by `cluster()`: that would refuse the open cluster which the doctor is to tell of.
    """
    named = re.fullmatch(r"\[?([^\[\]/]+?)\]?:(\d+)", address)
    if named:
        with socket.create_connection((named[1], int(named[2])), timeout=CONNECT_S):
            pass
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    return ray.init(address, **settings).dashboard_url or ""


def _nodes() -> dict[str, Node]:
    """The nodes that are alive, the head first; named by host, and by address where hosts share a name."""
    alive = sorted((n for n in ray.nodes() if n["Alive"]), key=lambda n: HEAD not in n["Resources"])
    hosts = [str(n["NodeManagerHostname"]) for n in alive]
    return {n["NodeID"]: _node(n, is_unique=hosts.count(host) == 1) for n, host in zip(alive, hosts, strict=True)}


def _node(facts: Mapping[str, Any], *, is_unique: bool) -> Node:
    resources, address = facts["Resources"], str(facts["NodeManagerAddress"])
    return Node(
        name=str(facts["NodeManagerHostname"]) if is_unique else address,
        address=address,
        is_head=HEAD in resources,
        cpus=int(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
    )


def _with_gpus(nodes: Mapping[str, Node]) -> tuple[RayFleet | None, list[Finding]]:
    """Processes with a GPU each, on the nodes that have one free; there must be two of them to exchange anything."""
    having = {node_id: node for node_id, node in nodes.items() if node.gpus}
    if len(having) < 2:
        return None, []
    fleet = RayFleet(having, gpus=True)
    answers = fleet.ask({node.name: (os.getpid, ()) for node in having.values()}, START_S)
    busy = [name for name, answer in answers.items() if isinstance(answer, Exception)]
    free = {node_id: node for node_id, node in having.items() if node.name not in busy}
    fleet.close()
    return (RayFleet(free, gpus=True) if len(free) > 1 else None), _busy(busy)


def _busy(names: Sequence[str]) -> list[Finding]:
    advice = "Run the doctor when nothing else does, to have NCCL measured there."
    found = "no GPU is free for NCCL"
    return [Finding(check="network, nccl", level="yellow", found=f"{n}: {found}", advice=advice) for n in names]
