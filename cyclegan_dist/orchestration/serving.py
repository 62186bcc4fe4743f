"""Ray Serve: replicas that translate the images of requests.

The service itself listens in the process that starts them, not behind Serve's HTTP proxy, which reads whole bodies of
any length into memory and sends its own error messages under load.
"""

import asyncio
import logging
import os
import secrets
import socket
from dataclasses import dataclass

import ray
import ray.exceptions
import torch
from ray import serve
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle
from torch import Tensor

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.orchestration.cluster import cluster, last_line
from cyclegan_dist.service.app import Answerer, make_app
from cyclegan_dist.service.handler import DecodedRequest, RequestHandler
from cyclegan_dist.service.messages import Limits, Refusal, Translation, TranslationRequest
from cyclegan_dist.service.server import address, run_until_signal

QUEUE = 16  # requests that wait for a place in a batch, per replica


@dataclass(frozen=True, kw_only=True)
class ServingOptions:
    """How a snapshot is served.

    Attributes:
        max_bytes: of an image file.
        max_pixels: of an image.
        replicas: processes that translate, each with its own GPU if the cluster has any.
        batch_size: images that a replica computes at once.
        batch_wait_s: that an image waits for others.
    """

    max_bytes: int
    max_pixels: int
    replicas: int
    batch_size: int
    batch_wait_s: float

    @property
    def max_ongoing(self) -> int:
        """Requests that a replica handles at once: while one batch is computed, the next is decoded."""
        return 2 * self.batch_size

    @property
    def limits(self) -> Limits:
        """The limits of the service: as many requests as the replicas and their queues can hold."""
        requests = self.replicas * (self.max_ongoing + QUEUE)
        return Limits(max_bytes=self.max_bytes, max_pixels=self.max_pixels, max_requests=requests)


def serve_snapshot(title: str, snapshot: Snapshot, listener: socket.socket, options: ServingOptions) -> None:
    """Answer requests at a listening socket until a signal arrives, on the cluster of RAY_ADDRESS or on one of this
    machine's own.

    Args:
        title: what is served, for people.
        snapshot: of the generators; every node must be able to read its folder.
        listener: the socket.
        options: how.

    Raises:
        UsageError: if the cluster has no room for the replicas, or they do not start.
    """
    name = f"cyclegan_dist-{secrets.token_hex(4)}"  # there may be others on the same cluster
    with cluster():
        use_gpu = _room(options.replicas)
        try:
            handle = _deploy(name, snapshot, options, use_gpu)
            app = make_app(title, snapshot, options.limits, answerer_of(handle))
            print(f"serving {title} at {address(listener)} (Ctrl-C ends it)", flush=True)
            run_until_signal(app, listener)
        finally:
            serve.delete(name)


class Replica:
    """One process that translates."""

    def __init__(self, snapshot: str, use_gpu: bool, options: ServingOptions):
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // options.replicas))
        device = torch.device("cuda" if use_gpu else "cpu")
        self._handler = RequestHandler(Snapshot.open(snapshot), device, options.max_pixels)

        @serve.batch(max_batch_size=options.batch_size, batch_wait_timeout_s=options.batch_wait_s)
        async def translate(batch: list[DecodedRequest]) -> list[list[Tensor]]:
            return await asyncio.to_thread(self._handler.translate, batch)

        self._translate = translate

    async def __call__(self, request: TranslationRequest) -> Translation | Refusal:
        try:
            decoded = await asyncio.to_thread(self._handler.decode, request)
        except Refusal as refusal:
            return refusal  # raised, it would arrive as a failure of the replica
        images = await self._translate(decoded)
        return await asyncio.to_thread(self._handler.encode, images, request)


def _room(replicas: int) -> bool:
    """Refuse more replicas than the cluster has room for. Returns whether each gets a GPU."""
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    room, kind = (gpus, "GPUs") if gpus else (cpus, "CPU cores")
    if replicas > room:
        raise UsageError(f"--replicas {replicas} is more than the cluster's {room} {kind}: lower it, or add nodes")
    return gpus > 0


def _deploy(name: str, snapshot: Snapshot, options: ServingOptions, use_gpu: bool) -> DeploymentHandle:
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    deployment = serve.deployment(
        num_replicas=options.replicas,
        max_ongoing_requests=options.max_ongoing,
        max_queued_requests=options.replicas * QUEUE,
        graceful_shutdown_wait_loop_s=0.1,  # the service has answered all requests by then
        ray_actor_options={"num_cpus": 1, "num_gpus": int(use_gpu)},
    )(Replica)
    application = deployment.bind(str(snapshot.folder.resolve()), use_gpu, options)
    try:
        serve.start(proxy_location="Disabled")
        return serve.run(application, name=name, route_prefix=None)
    except (RuntimeError, RayServeException, ray.exceptions.RayError) as error:
        raise UsageError(f"the replicas did not start: {last_line(error)}") from error


def answerer_of(handle: DeploymentHandle) -> Answerer:
    """Forwards requests to the replicas of `handle`; one that is lost is a 503, which clients retry."""

    async def answer(request: TranslationRequest) -> Translation | Refusal:
        try:
            return await handle.remote(request)
        except BackPressureError:
            return Refusal(503, "too many requests: try again in a moment")
        except ray.exceptions.RayActorError:
            # Usually it ran out of memory; Serve starts another.
            return Refusal(503, "a replica died on this image: try again, and reduce the image if it happens again")

    return answer
