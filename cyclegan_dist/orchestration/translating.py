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
from cyclegan_dist.translation.work import JobWorker

BLOCKS = 8  # for each worker, so that none waits long for the last one
BLOCK_TASKS = 64  # at most: results come by blocks


def translate_on_ray(job: Job, tasks: list[Task], workers: int) -> Generator[TranslationResult]:
    """Do tasks on the cluster of RAY_ADDRESS, or on one of this machine's own. Yields the result of each.

    Every task is done alone, and on one core, so that its bytes do not depend on the number of workers.

    Raises:
        UsageError: if the cluster has no room for the workers, or a worker failed.
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
        rows = ray.data.from_items([asdict(task) for task in tasks], override_num_blocks=blocks).map(
            TranslationActor,  # pyright: ignore[reportArgumentType] - classes are meant too
            fn_constructor_args=(asdict(job),),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(tasks))),
            num_cpus=1,
            num_gpus=int(use_gpu),
        )
        try:
            for row in rows.iter_rows():
                yield read_row(row)
        except ray.exceptions.RayError as error:
            raise UsageError(f"translation failed: {last_line(error)}; run the same command again to resume") from error


class TranslationActor:
    """One actor of the pool. It returns errors: an exception would be wrapped and retried by Ray."""

    def __init__(self, job: dict[str, Any]):
        torch.set_num_threads(1)
        self.worker: JobWorker | None = None
        self.error = ""
        try:
            self.worker = JobWorker(Job(**job))
        except UsageError as error:
            self.error = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if self.worker is None:
            return {"result": "", "error": self.error}
        try:
            result = self.worker([Task(**row)])
        except UsageError as error:
            return {"result": "", "error": str(error)}
        return {"result": json.dumps(asdict(result)), "error": ""}


def read_row(row: dict[str, Any]) -> TranslationResult:
    """The result in a row of an actor's answer.

    Raises:
        UsageError: with the message of an actor that failed.
    """
    if row["error"]:
        raise UsageError(row["error"])
    return TranslationResult(**json.loads(row["result"]))


def _use_gpu(job: Job, workers: int) -> bool:
    """Whether each worker gets a GPU. Refuses more workers than the cluster has room for."""
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    use_gpu = job.device.startswith("cuda") or (job.device == "auto" and gpus > 0)
    room, kind = (gpus, "GPUs") if use_gpu else (cpus, "CPU cores")
    if workers > room:
        raise UsageError(f"--workers {workers} is more than the cluster's {room} {kind}: lower it, or add nodes")
    return use_gpu
