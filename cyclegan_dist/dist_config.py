"""How many ranks, and where. Free of torch, so that `--help` answers quickly."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """The group of ranks that train together. Results depend on none of this but rounding and which rank's history an
    image enters.
    """

    num_workers: Annotated[int, Ge(0)] = 0
    """Ranks that Ray Train starts. 0: one for each GPU of the cluster, or without GPUs one for each core, as far as
    batch_size divides."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: the rank's GPU if there is one."""
    threads: Annotated[int, Ge(0)] = 0
    """CPU threads of each rank. 0: what the launcher gives (one under Ray and torchrun)."""
    timeout_s: Annotated[float, Gt(0)] = 300.0
    """Seconds after which waiting for another rank is an error."""
    max_failures: Annotated[int, Ge(0)] = 3
    """Times that Ray Train starts the ranks again, from the last checkpoint, after one has died."""
