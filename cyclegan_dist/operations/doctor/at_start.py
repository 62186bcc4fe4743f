"""A warning at the start of a training whose ranks do not fit into the memory of this machine.

Does not load torch unless that is likely, because launchers start without it.
"""

import shutil
import sys

from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.doctor.limits import SERVICES, Limits, limits_here

# Bytes of a rank, besides those for each pixel and feature of the generator's first layer: more than any shipped
# network needs (850 MB and 580).
MOST_PER_RANK, MOST_PER_FEATURE = 2_000_000_000, 800


def warn_of_memory(config: Config, ranks: int, *, standby: bool) -> None:
    """Print `memory_warning` to standard error, if there is one and ranks compute on the CPU."""
    on_gpu = config.world.device == "cuda" or (config.world.device == "auto" and shutil.which("nvidia-smi"))
    if not on_gpu and (warning := memory_warning(config, ranks, standby=standby)):
        print(warning, file=sys.stderr, flush=True)


def memory_warning(config: Config, ranks: int, limits: Limits | None = None, *, standby: bool = False) -> str:
    """Why so many ranks, computing on the CPU, do not fit into the memory of this machine, in one line; empty if they
    do. `limits` are this machine's by default; `standby`: each rank has a standby process.
    """
    limits = limits or limits_here()
    images = config.optim.micro_batch or -(-config.optim.batch_size // ranks)
    pixels = images * max(config.data.load_size, config.data.crop_size) ** 2
    if ranks * (MOST_PER_RANK + MOST_PER_FEATURE * pixels * config.method.generator.ngf) + SERVICES < limits.memory:
        return ""
    from cyclegan_dist.operations.doctor.footprint import footprint  # these load torch, and it takes seconds
    from cyclegan_dist.operations.doctor.nodes import LocalFleet
    from cyclegan_dist.operations.doctor.ranks import memory_advice
    from cyclegan_dist.tracking.quantities import size

    need = footprint(config, ranks, {}, on_gpu=False, standby=standby)
    total, fits = need.on_node(ranks) + SERVICES, need.ranks_in(limits.memory - SERVICES)
    if total <= limits.memory:
        return ""
    found = f"{ranks} rank{'s' * (ranks > 1)} need about {size(total)} of the {size(limits.memory)} here; {fits} fit"
    return f"warning: {found}. {memory_advice(config, LocalFleet().nodes, fits, standby=standby)}"
