"""Nodes of a Ray cluster for the doctor: one process on each of them runs its measurements."""

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cyclegan_dist.operations.doctor.checks import Target
from cyclegan_dist.operations.doctor.hardware import gpus_here
from cyclegan_dist.operations.doctor.nodes import TIMEOUT_S, Call, LocalFleet, Node, call_all
from cyclegan_dist.operations.doctor.report import Report
from cyclegan_dist.orchestration.cluster import CHECK_CLUSTER, last_line
from cyclegan_dist.orchestration.job_api import ask_job_api, job_api_url

CONNECT_S = 5.0  # ray.init would wait for minutes where nothing listens
HEAD = "node:__internal_head__"  # a resource that Ray gives to the head


class RayFleet:
    """Nodes of the cluster that this process has joined.

    Args:
        nodes: by Ray's node ID.
        gpus: whether each process gets a GPU.
    """

    def __init__(self, nodes: Mapping[str, Node], *, gpus: bool = False):
        self.nodes = list(nodes.values())
        self._ids = {node.name: node_id for node_id, node in nodes.items()}
        self._gpus, self._processes = gpus, {}

    def call(self, calls: Mapping[str, Call], timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """See `Fleet.call`. A process that does not answer in time is killed, and the next call starts another."""
        running = {name: self._process(name).run.remote(function, *args) for name, (function, args) in calls.items()}
        if running:
            ray.wait(list(running.values()), num_returns=len(running), timeout=timeout_s)
        return {name: self._answer(name, answer, timeout_s) for name, answer in running.items()}

    def _process(self, name: str) -> Any:
        if name not in self._processes:
            place = NodeAffinitySchedulingStrategy(self._ids[name], soft=False)
            options = _Process.options(num_cpus=0, num_gpus=int(self._gpus), scheduling_strategy=place)
            self._processes[name] = options.remote()
        return self._processes[name]

    def _answer(self, name: str, answer: Any, timeout_s: float) -> Any:
        try:
            return ray.get(answer, timeout=0)
        except ray.exceptions.RayTaskError as error:
            return error.cause if isinstance(error.cause, Exception) else RuntimeError(last_line(error))
        except ray.exceptions.RayError as error:  # no answer, or the process or its node has died
            ray.kill(self._processes.pop(name))
            is_late = isinstance(error, ray.exceptions.GetTimeoutError)
            return TimeoutError(f"no answer within {timeout_s:.0f} s") if is_late else RuntimeError(last_line(error))

    def close(self) -> None:
        """End the processes."""
        while self._processes:
            ray.kill(self._processes.popitem()[1])


@ray.remote
class _Process:
    """Runs the functions that are sent to it."""

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


@contextmanager
def joined(report: Report) -> Iterator[Target]:
    """The cluster of RAY_ADDRESS, joined for the block; this machine, with a red finding, if it cannot be joined."""
    address = os.environ["RAY_ADDRESS"]
    with ExitStack() as stack:
        stack.callback(ray.shutdown)
        try:
            dashboard = join(address)
            nodes = _nodes()
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            with report.check("cluster"):
                advice = f"{CHECK_CLUSTER[0].upper()}{CHECK_CLUSTER[1:]}."
                report.add("red", f"no Ray cluster {address}: {last_line(error)}", advice)
            yield Target(fleet=LocalFleet(gpus_here()[1]))
            return
        fleet = RayFleet(nodes)
        stack.callback(fleet.close)
        if (nccl := _with_gpus(nodes, report)) is not None:
            stack.callback(nccl.close)
        url = job_api_url(dashboard)
        yield Target(fleet=fleet, address=address, nccl=nccl, job_api=url, ask_job_api=ask_job_api)


def join(address: str) -> str:
    """Join a cluster. Returns the address of its dashboard; empty if it has none.

    `cluster()` is not used, because it refuses an open cluster, which the doctor must report.
    """
    if named := re.fullmatch(r"\[?([^\[\]/]+?)\]?:(\d+)", address):
        socket.create_connection((named[1], int(named[2])), timeout=CONNECT_S).close()
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    return ray.init(address, **settings).dashboard_url or ""


def _nodes() -> dict[str, Node]:
    """The nodes that are alive, the head first; named by host, and by address where hosts have the same name."""
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: HEAD not in node["Resources"])
    hosts = [str(node["NodeManagerHostname"]) for node in alive]
    return {
        node["NodeID"]: Node(
            name=host if hosts.count(host) == 1 else str(node["NodeManagerAddress"]),
            address=str(node["NodeManagerAddress"]),
            is_head=HEAD in node["Resources"],
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=int(node["Resources"].get("GPU", 0)),
        )
        for node, host in zip(alive, hosts, strict=True)
    }


def _with_gpus(nodes: Mapping[str, Node], report: Report) -> RayFleet | None:
    """The nodes with a free GPU, each process with one of them; None if there are not two of them."""
    fleet = RayFleet({node_id: node for node_id, node in nodes.items() if node.gpus}, gpus=True)
    if len(fleet.nodes) < 2:
        return None
    pids = call_all(fleet, os.getpid)
    fleet.nodes = [node for node in fleet.nodes if isinstance(pids[node.name], int)]
    with report.check("network, nccl"):
        for name in (name for name, pid in pids.items() if not isinstance(pid, int)):
            advice = "Run the doctor while no training runs, so that it can measure NCCL there."
            report.add("yellow", f"{name}: no GPU is free", advice)
    if len(fleet.nodes) > 1:
        return fleet
    fleet.close()
    return None
