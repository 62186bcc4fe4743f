"""Standby processes: workers of Ray that have loaded torch before they are needed.

A rank whose process must start and load its modules takes about 6 s of a core until its first step, nearly all of the
time of a restart. So raylets are asked to start further workers with the ranks' environment, which load the modules in
advance. When the ranks are restarted, Ray gives them idle workers with this environment; without one it starts another.
"""

import contextlib
import importlib
import os
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import ray
from ray._private.grpc_utils import init_grpc_channel
from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR as HOOK
from ray._private.state import available_resources_per_node
from ray.core.generated import node_manager_pb2, node_manager_pb2_grpc

DELAY_S = 15.0  # after the ranks have started, which is when they need all cores
KEPT_S = 30 * 24 * 3600  # Ray ends workers that are idle for longer, and at once those of a job that has ended
REQUEST_S = 10.0
MODULES = (
    "ray.train.v2._internal.execution.worker_group.worker",
    "torch._dynamo",  # optimizers and DistributedDataParallel load it when they are created
    "cyclegan_dist.orchestration.ranks",
    "cyclegan_dist.orchestration.plugins",
    "cyclegan_dist.training.trainer",
)


def rank_environment(enabled: bool) -> dict[str, Any]:
    """Ray Train's `worker_runtime_env`, with which each worker calls `preload` when it starts.

    A job whose environment has a function of its own for this (`worker_process_setup_hook`) keeps that one.
    """
    return {"env_vars": {HOOK: f"{__name__}.{preload.__name__}"}} if enabled and HOOK not in os.environ else {}


def preload() -> None:
    """Load what a rank needs. Does not raise: a rank reports what it cannot load."""
    with contextlib.suppress(Exception):
        for name in MODULES:
            importlib.import_module(name)


class StandbyProcesses:
    """Standby processes of a training, one for each rank on the ranks' nodes and on one node that is free for them.

    Ray Train's controller keeps it through all restarts. Where something fails, the next restart only takes longer.
    """

    def __init__(self) -> None:
        self._idle = Counter[str]()  # by node
        self._timer: threading.Timer | None = None  # set in the controller only, where this is sent to

    def ranks_started(self, nodes: list[str], environment: str, device: str) -> None:
        """Start later what is missing.

        Args:
            nodes: the node of each rank.
            environment: the ranks' runtime environment, serialised; nothing is started without `preload`.
            device: the resource that each rank takes, CPU or GPU.
        """
        self.cancel()
        ranks = Counter(nodes)
        self._idle -= ranks  # they have taken idle processes, where there were some
        if preload.__name__ in environment:
            self._timer = threading.Timer(DELAY_S, self._start_missing, (ranks, environment, device))
            self._timer.daemon = True
            self._timer.start()

    def cancel(self) -> None:
        """Start nothing for ranks that are being stopped."""
        if self._timer is not None:
            self._timer.cancel()

    def _start_missing(self, ranks: Counter[str], environment: str, device: str) -> None:
        with contextlib.suppress(Exception):
            nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
            free = available_resources_per_node()
            wanted = ranks + _spare(ranks, {node: int(free.get(node, {}).get(device, 0)) for node in nodes})
            for node, missing in (wanted - self._idle).items():
                if node in nodes:
                    _start(nodes[node], missing, environment)
                    self._idle[node] += missing


def _spare(ranks: Counter[str], free: Mapping[str, int]) -> Counter[str]:
    """The node without ranks that has most room for them, and for how many: a node that is lost has no more."""
    name = max((node for node in free if node not in ranks), key=lambda node: free[node], default="")
    return Counter({name: min(free[name], max(ranks.values()))} if name else {})


def _start(node: Mapping[str, Any], count: int, environment: str) -> None:
    """Ask a node's raylet to start workers of this job."""
    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    request = node_manager_pb2.PrestartWorkersRequest(  # pyright: ignore
        job_id=job, keep_alive_duration_secs=KEPT_S, num_workers=count
    )
    request.runtime_env_info.serialized_runtime_env = environment
    with init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}") as channel:  # pyright: ignore
        node_manager_pb2_grpc.NodeManagerServiceStub(channel).PrestartWorkers(request, timeout=REQUEST_S)
