"""Ray actors that read and encode the images of a data set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.exceptions
import torch

from cyclegan_dist.data.workers import Workers, WorkersLostError, run_chunk
from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.cluster import cluster, last_line

RETRIES = 3  # of an actor whose process or node has ended


@contextmanager
def ray_workers(count: int) -> Iterator[Workers]:
    """Actors on the cluster of RAY_ADDRESS, or on one of this machine's own, with one core each.

    Args:
        count: of the actors. 0: one for each core of the cluster.

    Raises:
        UsageError: if the cluster has no room for them.
        WorkersLostError: if they end.
    """
    with cluster():
        room = int(ray.cluster_resources().get("CPU", 0))
        if count > room:
            raise UsageError(f"--workers {count} is more than the cluster's {room} CPU cores: lower it, or add nodes")
        actors = [PreparingActor.remote() for _ in range(count or room)]
        started = 0

        def submit(work: Callable[[Any], Any], chunk: list[Any]) -> Any:
            nonlocal started
            started += 1
            return actors[started % len(actors)].run.remote(work, chunk)  # pyright: ignore[reportFunctionMemberAccess]

        try:
            yield Workers(len(actors), submit, _result)
        finally:
            for actor in actors:  # a cluster that was joined would keep them until this process ends
                ray.kill(actor)  # pyright: ignore[reportArgumentType]


@ray.remote(num_cpus=1, max_restarts=RETRIES, max_task_retries=RETRIES)
class PreparingActor:
    """One of the actors. It returns the errors of users: an exception would be wrapped by Ray."""

    def __init__(self) -> None:
        torch.set_num_threads(1)

    def run(self, work: Callable[[Any], Any], chunk: list[Any]) -> list[Any] | UsageError:
        """As `run_chunk`."""
        try:
            return run_chunk(work, chunk)
        except UsageError as error:
            return error


def _result(reference: Any) -> list[Any]:
    try:
        found = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise WorkersLostError(
            f"preparation failed on the Ray cluster: {last_line(error)}; run the same command again to continue"
        ) from error
    if isinstance(found, UsageError):
        raise found
    return found
