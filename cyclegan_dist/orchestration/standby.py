"""Standby processes: workers of Ray that have loaded torch before they are needed.

A rank whose process must start and load its modules takes about 6 s of a core until its first step, nearly all of the
time of a restart. Each rank therefore has its node's raylet start another worker, which loads them in advance; when the
ranks are restarted, Ray gives them the idle workers that have the same environment. Without one it starts a new one.
"""

import contextlib
import importlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import ray
from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR as HOOK

DELAY_S = 15.0  # after the ranks have started, which is when they need all cores
KEPT_S = 30 * 24 * 3600  # Ray ends idle workers; those of a job that has ended it ends at once
REQUEST_S = 10.0
MODULES = (
    "ray.train.v2._internal.execution.worker_group.worker",
    "torch._dynamo",  # optimizers and DistributedDataParallel load it when they are created
    "cyclegan_dist.orchestration.ranks",
    "cyclegan_dist.orchestration.plugins",
    "cyclegan_dist.training.trainer",
)


def worker_environment(enabled: bool) -> dict[str, Any]:
    """Ray Train's `worker_runtime_env`, with which each worker calls `preload` when it starts.

    The environment of a whole job may name a function of its own (`worker_process_setup_hook`), which is then kept.
    """
    return {"env_vars": {HOOK: f"{__name__}.{preload.__name__}"}} if enabled and HOOK not in os.environ else {}


def preload() -> None:
    """Load what a rank needs. Does not raise: a rank reports what it cannot load."""
    with contextlib.suppress(Exception):
        for name in MODULES:
            importlib.import_module(name)


@contextlib.contextmanager
def standby(enabled: bool) -> Iterator[None]:
    """Start a standby process on this rank's node, if the block has not ended before."""
    timer = threading.Timer(DELAY_S, start_standby)
    timer.daemon = True
    if enabled and os.environ.get(HOOK, "").startswith(__name__):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def start_standby() -> None:
    """Have this node's raylet start a worker with this one's environment. Without it, restarts only take longer."""
    with contextlib.suppress(Exception):
        from ray._private.grpc_utils import init_grpc_channel
        from ray.core.generated import node_manager_pb2, node_manager_pb2_grpc

        context = ray.get_runtime_context()
        node = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
        request = node_manager_pb2.PrestartWorkersRequest(
            job_id=bytes.fromhex(context.get_job_id()), keep_alive_duration_secs=KEPT_S, num_workers=1
        )
        request.runtime_env_info.serialized_runtime_env = context.get_runtime_env_string()
        channel = init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")
        with channel:
            node_manager_pb2_grpc.NodeManagerServiceStub(channel).PrestartWorkers(request, timeout=REQUEST_S)
