"""Options of the ranks: number, device, threads, timeouts. Does not import torch, so that `--help` answers quickly."""

import os
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclegan_dist.errors import UsageError
from cyclegan_dist.networks.bounds import Ge, Gt

STANDBY = "CYCLEGAN_DIST_STANDBY"  # 0 in the launcher's environment: no standby processes
Device = Literal["auto", "cpu", "cuda"]
MPS = "mps"  # torch's name of Apple's GPUs
NO_MPS = (
    "torch cannot exchange gradients between Apple GPUs and has no fp64 on them, and no result of this code was "
    "checked on one; give cpu or auto"
)


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """The group of ranks that train together. These options affect results only through rounding and the choice of the
    history buffer that an image enters.
    """

    num_workers: Annotated[int, Ge(0)] | tuple[Annotated[int, Gt(0)], Annotated[int, Gt(0)]] = 0
    """Ranks that Ray Train starts. 0: one per GPU of the cluster, or per core without GPUs, as far as they can share
    batch_size. Two numbers, minimum and maximum: elastic, with as many ranks as the nodes currently allow, of which as
    many train as can share batch_size."""
    device: Device = "auto"
    """`auto`: the rank's GPU if there is one, else the CPU. Apple's GPUs are not supported."""
    threads: Annotated[int, Ge(0)] = 0
    """CPU threads of each rank. 0: the launcher's default: one under Ray and torchrun,
    all cores in a lone process unless OMP_NUM_THREADS is set."""
    timeout_s: Annotated[float, Gt(0)] = 30.0
    """Timeout in seconds of waiting for another rank during training; ten times as long during set-up."""
    save_timeout_s: Annotated[float, Gt(0)] = 600.0
    """Timeout in seconds of writing files: of a checkpoint without progress, of a snapshot, of sample images, and of
    what a run writes before it trains. The process ends then."""
    price: Annotated[float, Ge(0)] = 0.0
    """Price of an hour of one rank and its GPU, in any currency, for the estimate of cost. 0: unknown."""
    node_labels: tuple[str, ...] = ()
    """Labels, as `ray.io/accelerator-type=H100`, that nodes must have for Ray to start ranks on them: for clusters of
    several kinds of GPUs, since all ranks wait for the slowest."""
    max_failures: Annotated[int, Ge(0)] = 3
    """Times that Ray Train restarts the ranks from the last checkpoint after a crash, without a new checkpoint in
    between."""

    def __post_init__(self) -> None:
        if isinstance(self.num_workers, tuple) and self.num_workers[0] > self.num_workers[1]:
            least, most = self.num_workers
            raise UsageError(f"world.num_workers {least} {most}: give the least first, then the most")
        for label in self.node_labels:
            name, equals, value = label.partition("=")
            if not (name and equals and value):
                raise UsageError(f"world.node_labels {label}: give NAME=VALUE, as ray.io/accelerator-type=H100")

    @property
    def label_selector(self) -> dict[str, str]:
        """The value that each label must have, by its name."""
        return dict(label.split("=", 1) for label in self.node_labels)

    @property
    def has_standby(self) -> bool:
        """Whether Ray keeps a standby process beside each rank, if it starts them (`orchestration/standby.py`)."""
        return self.max_failures > 0 and os.environ.get(STANDBY) != "0"

    @property
    def most_workers(self) -> int:
        """Maximum number of ranks of an elastic run; 0 for other runs."""
        return self.num_workers[1] if isinstance(self.num_workers, tuple) else 0

    @property
    def least_workers(self) -> int:
        """Minimum number of ranks for training; 0 if it is not given."""
        return self.num_workers[0] if isinstance(self.num_workers, tuple) else self.num_workers
