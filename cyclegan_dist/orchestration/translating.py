"""Ray Data: the tasks of a translation over the processes of a cluster."""

import json
import logging
from collections.abc import Generator
from dataclasses import asdict
from typing import Any

import ray
import ray.data
import ray.exceptions
import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.cluster import cluster, last_line
from cyclegan_dist.translation.job import Job, Task, TranslationResult
from cyclegan_dist.translation.work import Translator

BLOCKS = 8  # for each worker, so that none waits long for the last one
BLOCK_TASKS = 64  # at most: outcomes come by blocks


def translate_on_ray(job: Job, tasks: list[Task], workers: int) -> Generator[TranslationResult]:
    """Do tasks on the cluster of RAY_ADDRESS, or on one of this machine's own. Yields what became of each.

    Every task is done alone, and on one core, so that its bytes do not depend on the number of workers.

    Raises:
        UsageError: if the cluster cannot hold the workers, or a worker met what cannot be mended.
    """
    if not tasks:
        return
    with cluster():
        use_gpu = _use_gpu(job, workers)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        blocks = min(len(tasks), max(BLOCKS * workers, -(-len(tasks) // BLOCK_TASKS)))
        answers = ray.data.from_items([asdict(task) for task in tasks], override_num_blocks=blocks).map(
            _Worker,  # pyright: ignore[reportArgumentType] - classes are meant too
            fn_constructor_args=(asdict(job),),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(tasks))),
            num_cpus=1,
            num_gpus=int(use_gpu),
        )
        try:
            for row in answers.iter_rows():
                yield _outcome(row)
        except ray.exceptions.RayError as error:
            raise UsageError(f"translation failed: {last_line(error)}; the same command goes on") from error


class _Worker:
    """What each actor of the pool runs."""

    def __init__(self, job: dict[str, Any]):
        torch.set_num_threads(1)
        self.translator: Translator | None = None
        self.error = ""
        try:
            self.translator = Translator(Job(**job))
        except UsageError as error:
            self.error = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if self.translator is None:
            return {"outcome": "", "error": self.error}
        try:
            outcome = self.translator([Task(**row)])
        except UsageError as error:
            return {"outcome": "", "error": str(error)}
        return {"outcome": json.dumps(asdict(outcome)), "error": ""}


def _outcome(row: dict[str, Any]) -> TranslationResult:
    if row["error"]:
        raise UsageError(row["error"])
    return TranslationResult(**json.loads(row["outcome"]))


def _use_gpu(job: Job, workers: int) -> bool:
    """Whether each worker gets a GPU; there must be enough of what each gets."""
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    use_gpu = job.device.startswith("cuda") or (job.device == "auto" and gpus > 0)
    room, kind = (gpus, "GPUs") if use_gpu else (cpus, "CPU cores")
    if workers > room:
        raise UsageError(f"--workers {workers} is more than the cluster's {room} {kind}: lower it, or add nodes")
    return use_gpu
