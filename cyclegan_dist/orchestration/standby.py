"""Standby processes: workers of Ray that have loaded torch before they are needed.

A rank whose process must start and load its modules takes about 6 s of a core until its first step, nearly all of the
time of a restart. So raylets are asked to start further workers with the ranks' environment, which load the modules in
advance. When the ranks are restarted, Ray gives them idle workers with this environment; without one it starts another.
"""

import contextlib
import importlib
import logging
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

from cyclegan_dist.step.world_config import WorldConfig

_log = logging.getLogger(__name__)
DELAY_S = 15.0  # after the ranks have started, which is when they need all cores
# A raylet ignores requests while as many processes as it has cores are starting, so each waits for the one before.
SPACED_S = 10.0
AGAIN_S = 60.0  # between two looks for nodes that have joined
KEPT_S = 24 * 3600  # Ray may then end idle workers, if there are more than cores; at once when the job has ended
REQUEST_S = 10.0
MODULES = (
    "ray.train.v2._internal.execution.worker_group.worker",
    "torch._dynamo",  # optimizers and DistributedDataParallel load it when they are created
    "cyclegan_dist.orchestration.ranks",
    "cyclegan_dist.orchestration.plugins",
    "cyclegan_dist.training.trainer",
)


def rank_environment(config: WorldConfig) -> dict[str, Any]:
    """Ray Train's `worker_runtime_env`, with which each worker calls `preload` when it starts.

    It is empty, and there are no standby processes, if ranks are not restarted, if CYCLEGAN_DIST_STANDBY is 0, or if
    the job's environment has a function of its own for this (`worker_process_setup_hook`).
    """
    if not config.has_standby or HOOK in os.environ:
        return {}
    return {"env_vars": {HOOK: f"{__name__}.{preload.__name__}"}}


def preload() -> None:
    """Load what a rank needs. Does not raise: a rank reports what it cannot load."""
    # Ray sets it when it gives a worker to a rank, but torch reads it when it is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with contextlib.suppress(Exception):
        for name in MODULES:
            importlib.import_module(name)


class StandbyProcesses:
    """Standby processes of a training, one for each rank on the ranks' nodes and on one node that is free for them.

    Ray Train's controller keeps it through all restarts. Where something fails, the next restart only takes longer.
    """

    def __init__(self) -> None:
        self._idle = Counter[str]()  # by node
        self._has_failed = False  # which is logged once
        self._stopped: threading.Event | None = None  # set in the controller only, where this is sent to

    def ranks_started(self, nodes: list[str], environment: str, device: str) -> None:
        """Start later what is missing, and what nodes that join lack.

        Args:
            nodes: the node of each rank.
            environment: the ranks' runtime environment, serialised; nothing is started without `preload`.
            device: the resource that each rank takes, CPU or GPU.
        """
        self.cancel()
        ranks = Counter(nodes)
        self._idle -= ranks  # they have taken idle processes, where there were some
        if preload.__name__ in environment:
            self._stopped = threading.Event()
            arguments = (self._stopped, ranks, environment, device)
            threading.Thread(target=self._start_missing, args=arguments, daemon=True).start()

    def cancel(self) -> None:
        """Start nothing for ranks that are being stopped."""
        if self._stopped is not None:
            self._stopped.set()

    def _start_missing(self, stopped: threading.Event, ranks: Counter[str], environment: str, device: str) -> None:
        wait_s = DELAY_S
        while not stopped.wait(wait_s):
            wait_s = AGAIN_S
            try:
                if self.start_missing(ranks, environment, device):
                    wait_s = SPACED_S
            except Exception as error:  # also of Ray's private functions, which a new version may change
                if not self._has_failed:
                    _log.warning("no standby processes, restarts take longer: %s: %s", type(error).__name__, error)
                self._has_failed = True

    def start_missing(self, ranks: Counter[str], environment: str, device: str) -> int:
        """Start one process on each node that lacks some. Arguments as for `ranks_started`, with the number of ranks of
        each node. Returns the number of processes.
        """
        nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        free = available_resources_per_node()
        wanted = ranks + _spare(ranks, {node: int(free.get(node, {}).get(device, 0)) for node in nodes}, self._idle)
        lacking = [node for node in wanted - self._idle if node in nodes]
        for node in lacking:
            _start(nodes[node], environment)
            self._idle[node] += 1
        return len(lacking)


def _spare(ranks: Counter[str], free: Mapping[str, int], idle: Mapping[str, int]) -> Counter[str]:
    """A node without ranks and for how many it has room: as many as a node that is lost could have. It is the one that
    has standby processes already, or else most room.
    """
    others = [node for node in free if node not in ranks]
    name = max(others, key=lambda node: (min(free[node], idle.get(node, 0)), free[node]), default="")
    return Counter({name: min(free[name], max(ranks.values()))} if name else {})


def _start(node: Mapping[str, Any], environment: str) -> None:
    """Ask a node's raylet to start a worker of this job."""
    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    request = node_manager_pb2.PrestartWorkersRequest(  # pyright: ignore
        job_id=job, keep_alive_duration_secs=KEPT_S, num_workers=1
    )
    request.runtime_env_info.serialized_runtime_env = environment
    with init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}") as channel:  # pyright: ignore
        node_manager_pb2_grpc.NodeManagerServiceStub(channel).PrestartWorkers(request, timeout=REQUEST_S)
