"""How many ranks, and where. Free of torch, so that `--help` answers quickly."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from cyclegan_dist.errors import UsageError

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """The group of ranks that train together. Results depend on none of this but rounding and which rank's history an
    image enters.
    """

    num_workers: Annotated[int, Ge(0)] | tuple[Annotated[int, Gt(0)], Annotated[int, Gt(0)]] = 0
    """Ranks that Ray Train starts. 0: one for each GPU of the cluster, or without GPUs one for each core, as far as
    batch_size divides. Two numbers, the least and the most: elastic, with as many as there are nodes for at the moment,
    of which as many train as batch_size divides by."""
    device: Device = "auto"
    """`auto`: the rank's GPU if there is one."""
    threads: Annotated[int, Ge(0)] = 0
    """CPU threads of each rank. 0: what the launcher gives (one under Ray and torchrun)."""
    timeout_s: Annotated[float, Gt(0)] = 30.0
    """Seconds after which waiting for another rank is an error, between two steps; ten times as many while ranks set
    up."""
    max_failures: Annotated[int, Ge(0)] = 3
    """Times that Ray Train starts the ranks again, from the last checkpoint, after one has died, without a new
    checkpoint in between."""

    def __post_init__(self) -> None:
        if isinstance(self.num_workers, tuple) and self.num_workers[0] > self.num_workers[1]:
            least, most = self.num_workers
            raise UsageError(f"world.num_workers {least} {most}: give the least first, then the most")

    @property
    def most_workers(self) -> int:
        """The most ranks of an elastic run; 0 for any other."""
        return self.num_workers[1] if isinstance(self.num_workers, tuple) else 0

    @property
    def least_workers(self) -> int:
        """Ranks without which there is no training; 0 if that is left open."""
        return self.num_workers[0] if isinstance(self.num_workers, tuple) else self.num_workers
