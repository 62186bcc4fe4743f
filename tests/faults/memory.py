"""Drill A10: not enough memory for a step."""

import re
import resource
from pathlib import Path

from cyclegan_dist.config.config import Config
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.memory import OutOfMemoryError
from cyclegan_dist.training.run_folder import FAILURE_NAME
from tests.faults.matrix import Measured, Stage, row
from tests.ranks import run_ranks
from tests.training.trainings import go

HEADROOM_MB = 160  # enough for one image at once, not for eight
MESSAGE = (
    r"rank {}, step 1: out of memory with 8 images of each domain, 128 x 128 pixels, at once .*: lower optim\.micro_b"
)


@row(
    "A10",
    "a rank runs out of memory in a step",
    "one line names the rank, the number of images at once and the option to lower; no restart",
    slow=True,
)
def out_of_memory(stage: Stage) -> Measured:
    large = {"data__load_size": 128, "data__crop_size": 128, "method__generator__ngf": 16, "stop_after": 8}
    reported = []
    for ranks, limited in ((1, 0), (2, 1))[: stage.times(1, 2)]:
        config = stage.run(name=f"limited{ranks}", optim__batch_size=8 * ranks, **large)
        results = run_ranks(lambda world, config=config, rank=limited: _train(config, world, rank), ranks)
        saved = (config.run_dir / FAILURE_NAME).read_text()  # the launcher reads this file and does not restart
        reported.append(all(re.match(MESSAGE.format(limited), text) for text in (results[limited], saved)))
    lower = stage.run(name="lower", optim__batch_size=8, optim__micro_batch=1, **large)
    (status,) = run_ranks(lambda world: _train(lower, world, 0), 1)
    return Measured(
        f"RLIMIT_AS {HEADROOM_MB} MB above the memory in use: reported by the rank itself in {sum(reported)} of "
        f"{len(reported)} worlds (1 and 2 ranks); with optim.micro_batch 1, as the message suggests, under the same "
        f"limit: {status}",
        all(reported) and status == "FINISHED",
    )


def _train(config: Config, world: World, limited: int) -> str:
    """Train with a memory limit on one rank. Returns the status or the error message."""
    if world.rank == limited:
        status = Path("/proc/self/status").read_text()
        size = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize"))
        resource.setrlimit(resource.RLIMIT_AS, (size + (HEADROOM_MB << 20), resource.RLIM_INFINITY))
    try:
        return go(config, world)
    except OutOfMemoryError as error:
        return str(error)
    except RuntimeError as error:  # the other ranks lose their connection
        return f"lost: {error}"
