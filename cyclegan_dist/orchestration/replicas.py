"""Replicas of Ray Serve that translate the images of requests."""

import asyncio
import logging
import os
import time

import ray.exceptions
import torch
from ray import serve
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle
from torch import Tensor

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.orchestration.cluster import last_line
from cyclegan_dist.orchestration.serving import ESTIMATED_SHARE, QUEUE, ServingOptions
from cyclegan_dist.service.app import Answerer
from cyclegan_dist.service.cost import Backlog, seconds_per_pixel
from cyclegan_dist.service.handler import DecodedRequest, RequestHandler, image_size
from cyclegan_dist.service.messages import Refusal, Translation, TranslationRequest


class Replica:
    """One process that translates."""

    def __init__(self, snapshot: str, use_gpu: bool, options: ServingOptions):
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // options.replicas))
        device = torch.device("cuda" if use_gpu else "cpu")
        self._handler = RequestHandler(Snapshot.open(snapshot), device, options.max_pixels)
        self._backlog = Backlog(seconds_per_pixel(self._handler), options.deadline_s * ESTIMATED_SHARE)

        @serve.batch(max_batch_size=options.batch_size, batch_wait_timeout_s=options.batch_wait_s)
        async def translate(batch: list[DecodedRequest]) -> list[list[Tensor]]:
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

    async def __call__(self, request: TranslationRequest) -> Translation | Refusal:
        try:
            self._backlog.refuse_slow(*image_size(request.data), request.reconstruction)
            decoded = await asyncio.to_thread(self._handler.decode, request)
            self._backlog.admit(decoded)
        except Refusal as refusal:
            return refusal  # raised, it would arrive as a failure of the replica
        try:
            images = await self._translate(decoded)
        finally:
            self._backlog.withdraw(decoded)  # the caller may have given up
        return await asyncio.to_thread(self._handler.encode, images, request)


def deploy(name: str, snapshot: Snapshot, options: ServingOptions, use_gpu: bool) -> tuple[DeploymentHandle, int]:
    """Start the replicas of an application `name`.

    Returns:
        Their handle, and the pixels of the largest image that meets the deadline.

    Raises:
        UsageError: if they do not start.
    """
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


def answerer_of(handle: DeploymentHandle) -> Answerer:
    """Forwards requests to the replicas of `handle`; one that is lost is a 503, which clients retry."""

    async def answer(request: TranslationRequest) -> Translation | Refusal:
        try:
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
