"""A10: there is not the memory that a step needs."""

import re
import resource
from pathlib import Path

from cyclegan_dist.config.config import Config
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.memory import OutOfMemoryError
from cyclegan_dist.storage.layout import RunFolder
from tests.faults.matrix import Measured, Stage, row
from tests.ranks import run_ranks
from tests.training.trainings import go

LEFT_MB = 160  # enough for one image at once, not for eight
MESSAGE = (
    r"rank {}, step 1: out of memory with 8 images of each domain, 128 x 128 pixels, at once .*: lower optim\.micro_b"
)


@row(
    "A10",
    "a rank runs out of memory in a step",
    "one line says which rank, how many images at once and what to lower; it is not started again",
    slow=True,
)
def out_of_memory(stage: Stage) -> Measured:
    large = {"data__load_size": 128, "data__crop_size": 128, "method__generator__ngf": 16, "stop_after": 8}
    told = []
    for ranks, starved in ((1, 0), (2, 1))[: stage.times(1, 2)]:
        config = stage.run(name=f"starved{ranks}", optim__batch_size=8 * ranks, **large)
        said = run_ranks(lambda world, config=config, who=starved: _train(config, world, who), ranks)
        failure = RunFolder(config.run_dir).read_failure()  # where the launcher reads that it need not start again
        kept = failure.message if failure else ""
        told.append(all(re.match(MESSAGE.format(starved), text) for text in (said[starved], kept)))
    lower = stage.run(name="lower", optim__batch_size=8, optim__micro_batch=1, **large)
    (status,) = run_ranks(lambda world: _train(lower, world, 0), 1)
    return Measured(
        f"RLIMIT_AS {LEFT_MB} MB above what there was: told by the rank itself in {sum(told)} of {len(told)} worlds, of "
        f"1 rank and of 2; with optim.micro_batch 1, as it says, under the same limit: {status}",
        all(told) and status == "FINISHED",
    )


def _train(config: Config, world: World, starved: int) -> str:
    """The status of a training in which one rank may take only so much more memory, or what it said."""
    if world.rank == starved:
        status = Path("/proc/self/status").read_text()
        size = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize"))
        resource.setrlimit(resource.RLIMIT_AS, (size + (LEFT_MB << 20), resource.RLIM_INFINITY))
    try:
        return go(config, world)
    except OutOfMemoryError as error:
        return str(error)
    except RuntimeError as error:  # the others lose it
        return f"lost: {error}"
