"""Ray Serve: replicas that translate the images of requests.

The service itself listens in the process that starts them, not behind Serve's HTTP proxy, which reads whole bodies of
any length into memory and sends its own error messages under load.
"""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ray
import ray.exceptions
from ray import serve
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.orchestration.cluster import cluster, last_line
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.server import address, run_until_signal

if TYPE_CHECKING:  # loads torch, which takes seconds
    from torch import Tensor

    from cyclegan_dist.service.app import Answerer
    from cyclegan_dist.service.handler import DecodedRequest
    from cyclegan_dist.service.messages import Limits, Refusal, Translation, TranslationRequest

QUEUE = 16  # requests that wait for a place in a batch, per replica
_ESTIMATED_SHARE = 0.7  # of the deadline that an image and those before it may take by the estimate, which is rough


@dataclass(frozen=True, kw_only=True)
class ServingOptions:
    """How a snapshot is served.

    Attributes:
        max_bytes: of an image file.
        max_pixels: of an image.
        replicas: processes that translate, each with its own GPU if the cluster has any.
        batch_size: images that a replica computes at once.
        batch_wait_s: that an image waits for others.
        deadline_s: seconds for an answer; an image that would take longer is refused.
        requests_per_client: of one client address, at once; 0: half of all.
    """

    max_bytes: int
    max_pixels: int
    replicas: int
    batch_size: int
    batch_wait_s: float
    deadline_s: float
    requests_per_client: int

    @property
    def max_ongoing(self) -> int:
        """Requests that a replica handles at once: while one batch is computed, the next is decoded."""
        return 2 * self.batch_size

    def limits(self, max_pixels: int) -> "Limits":
        """The limits of the service: as many requests as the replicas and their queues can hold, and images of at most
        `max_pixels`, which meet the deadline.
        """
        from cyclegan_dist.service.messages import Limits

        requests = self.replicas * (self.max_ongoing + QUEUE)
        return Limits(
            max_bytes=self.max_bytes,
            max_pixels=min(self.max_pixels, max_pixels),
            max_requests=requests,
            max_requests_per_client=self.requests_per_client or requests // 2,
            deadline_s=self.deadline_s,
        )


def serve_snapshot(
    title: str, snapshot: Snapshot, listener: socket.socket, hosts: AllowedHosts, options: ServingOptions
) -> None:
    """Answer requests at a listening socket until a signal arrives, on the cluster of RAY_ADDRESS or on one of this
    machine's own.

    Args:
        title: what is served, for people.
        snapshot: of the generators; every node must be able to read its folder.
        listener: the socket.
        hosts: under which it may be requested.
        options: how.

    Raises:
        UsageError: if the cluster has no room for the replicas, or they do not start.
    """
    name = f"cyclegan_dist-{secrets.token_hex(4)}"  # there may be others on the same cluster
    with cluster(meanwhile="cyclegan_dist.service.app"), _ending_on_sigterm():
        use_gpu = _room(options.replicas)
        try:
            handle, max_pixels = _deploy(name, snapshot, options, use_gpu)
            from cyclegan_dist.service.app import make_app

            limits = options.limits(max_pixels)
            note = ""
            if limits.max_pixels < options.max_pixels:
                megapixels = limits.max_pixels / 1e6
                note = f"images of at most {megapixels:.2g} megapixels can be answered in {options.deadline_s:g} s; "
            app = make_app(title, snapshot, limits, hosts, answerer_of(handle))
            run_until_signal(app, listener, f"serving {title} at {address(listener)} ({note}Ctrl-C ends it)")
        finally:
            serve.delete(name)


class Replica:
    """One process that translates."""

    def __init__(self, snapshot: str, use_gpu: bool, options: ServingOptions):
        import torch

        from cyclegan_dist.service.cost import Backlog, seconds_per_pixel
        from cyclegan_dist.service.handler import RequestHandler

        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // options.replicas))
        device = torch.device("cuda" if use_gpu else "cpu")
        self._handler = RequestHandler(Snapshot.open(snapshot), device, options.max_pixels)
        self._backlog = Backlog(seconds_per_pixel(self._handler), options.deadline_s * _ESTIMATED_SHARE)

        @serve.batch(max_batch_size=options.batch_size, batch_wait_timeout_s=options.batch_wait_s)
        async def translate(batch: "list[DecodedRequest]") -> "list[list[Tensor]]":
            self._backlog.start(batch)
            began = time.perf_counter()
            try:
                return await asyncio.to_thread(self._handler.translate, batch)
            finally:
                self._backlog.finish(batch, time.perf_counter() - began)

        self._translate = translate

    async def max_pixels(self) -> int:
        """Of the largest image that meets the deadline."""
        return self._backlog.max_pixels()

    async def __call__(self, request: "TranslationRequest") -> "Translation | Refusal":
        from cyclegan_dist.service.handler import image_size
        from cyclegan_dist.service.messages import Refusal

        try:
            self._backlog.refuse_slow(*image_size(request.data), request.reconstruction)
            decoded = await asyncio.to_thread(self._handler.decode, request)
            self._backlog.admit(decoded)
        except Refusal as refusal:
            return refusal  # raised, it would arrive as a failure of the replica
        try:
            images = await self._translate(decoded)
        finally:
            self._backlog.withdraw(decoded)  # the caller has given up
        return await asyncio.to_thread(self._handler.encode, images, request)


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """End with the usual status on SIGTERM, for which Ray installs a handler that aborts with a stack trace."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _room(replicas: int) -> bool:
    """Refuse more replicas than the cluster has room for. Returns whether each gets a GPU."""
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    room, kind = (gpus, "GPUs") if gpus else (cpus, "CPU cores")
    if replicas > room:
        raise UsageError(f"--replicas {replicas} is more than the cluster's {room} {kind}: lower it, or add nodes")
    return gpus > 0


def _deploy(name: str, snapshot: Snapshot, options: ServingOptions, use_gpu: bool) -> tuple[DeploymentHandle, int]:
    """Start the replicas. Returns their handle, and the pixels of the largest image that meets the deadline."""
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
        handle = serve.run(application, name=name, route_prefix=None)
        return handle, handle.max_pixels.remote().result()
    except (RuntimeError, RayServeException, ray.exceptions.RayError) as error:
        raise UsageError(f"the replicas did not start: {last_line(error)}") from error


def answerer_of(handle: DeploymentHandle) -> "Answerer":
    """Forwards requests to the replicas of `handle`; one that is lost is a 503, which clients retry."""
    from cyclegan_dist.service.messages import Refusal

    async def answer(request: "TranslationRequest") -> "Translation | Refusal":
        response = handle.remote(request)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()  # else the replica would translate it all the same
            raise
        except BackPressureError:
            return Refusal(503, "too many requests: try again in a moment")
        except ray.exceptions.RayActorError:
            # Usually it ran out of memory; Serve starts another.
            return Refusal(503, "a replica died on this image: try again, and reduce the image if it happens again")

    return answer
