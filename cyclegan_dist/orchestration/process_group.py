"""The process group of Ray Train's ranks.

`ray.train.torch` sets up the same group, but it loads torch in the launcher and in Ray Train's controller too, which
takes each of them two seconds and 700 MB. Here only ranks load it.
"""

import contextlib
import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import ray.exceptions
import ray.train
import ray.util
from ray.train.backend import Backend, BackendConfig

from cyclegan_dist.orchestration.standby import StandbyProcesses

# Before new ranks start, old ones must leave their group, which a frozen rank never does.
LEAVE_TIMEOUT_S = 5.0


@dataclass
class ProcessGroupConfig(BackendConfig):
    """A process group of all ranks, with NCCL if they have GPUs and else with gloo.

    Attributes:
        use_gpu: whether each rank has a GPU.
        timeout_s: timeout in seconds of exchanges, as `world.timeout_s`; longer while ranks set up.
    """

    use_gpu: bool
    timeout_s: float

    @property
    def backend_cls(self) -> type[Backend]:
        return _ProcessGroup


class _ProcessGroup(Backend):
    """Joins and leaves the group on all ranks; Ray Train's controller calls it."""

    share_cuda_visible_devices = True  # as NCCL requires for ranks of one node

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self._standby = StandbyProcesses()

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        address, port = worker_group.execute_single(0, _free_address)
        worker_group.execute(_join, address, port, backend_config)
        nodes, environments = zip(*worker_group.execute(_node_and_environment), strict=True)
        self._standby.ranks_started(list(nodes), environments[0], "GPU" if backend_config.use_gpu else "CPU")

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:
        self._standby.cancel()
        with contextlib.suppress(ray.exceptions.GetTimeoutError):  # after it, the ranks are killed
            ray.get(worker_group.execute_async(_leave), timeout=LEAVE_TIMEOUT_S)


def _node_and_environment() -> tuple[str, str]:
    context = ray.get_runtime_context()
    return context.get_node_id(), context.get_runtime_env_string()


def _free_address() -> tuple[str, int]:
    """This node's address and a free port."""
    address = ray.util.get_node_ip_address()
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        return address, probe.getsockname()[1]


def _join(address: str, port: int, config: ProcessGroupConfig) -> None:
    """Join the group, on a rank, with the variables that torchrun sets."""
    import torch.distributed

    from cyclegan_dist.step.distributed import SETTING_UP

    context = ray.train.get_context()
    variables = {
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
        "RANK": context.get_world_rank(),
        "WORLD_SIZE": context.get_world_size(),
        "LOCAL_RANK": context.get_local_rank(),
        "LOCAL_WORLD_SIZE": context.get_local_world_size(),
        "NODE_RANK": context.get_node_rank(),
    }
    os.environ.update({name: str(value) for name, value in variables.items()})
    torch.distributed.init_process_group(
        "nccl" if config.use_gpu else "gloo", timeout=timedelta(seconds=int(SETTING_UP * config.timeout_s))
    )


def _leave() -> None:
    from cyclegan_dist.step.distributed import leave

    leave()
