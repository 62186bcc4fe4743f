"""Replicas of Ray Serve that translate the images of requests."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray.exceptions
import torch
from ray import serve
from ray.serve._private.common import ReplicaState
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle
from torch import Tensor

from cyclegan_dist.errors import UsageError
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.orchestration.cluster import last_line
from cyclegan_dist.orchestration.serving import ESTIMATED_SHARE, QUEUE, ServingOptions
from cyclegan_dist.service.cost import Backlog, seconds_per_pixel
from cyclegan_dist.service.handler import DecodedRequest, RequestHandler, image_size
from cyclegan_dist.service.messages import Answerer, Refusal, Translation, TranslationRequest
from cyclegan_dist.step.cores import usable_cores

Work = tuple[RequestHandler, DecodedRequest]
LOAD_S = 300.0  # for a snapshot to be loaded by a replica
_NOT_LOADED = (UsageError, OSError, RuntimeError)  # CUDA's errors are RuntimeErrors
_UNKNOWN_SPEED = 1e-9  # seconds per pixel, before a snapshot is loaded
KEPT = 2  # snapshots whose generators stay in memory: a promotion that is taken back needs no loading


@dataclass(frozen=True)
class Loaded:
    """The generators of a snapshot in memory, and the seconds that one pixel takes with them."""

    handler: RequestHandler
    seconds_per_pixel: float


class Replica:
    """One process that translates. It loads a snapshot when a request first names it, and the first one at its start.

    One that replaces a process that died may start when the first snapshot has been deleted: it starts all the same.
    """

    def __init__(self, snapshot: str, use_gpu: bool, options: ServingOptions):
        torch.set_num_threads(max(1, usable_cores() // options.replicas))
        self._device, self._options = torch.device("cuda" if use_gpu else "cpu"), options
        self._loaded: dict[str, Loaded] = {}  # the one used last at the end
        self._expected = ""  # the snapshot by whose speed the backlog estimates
        self._loading: dict[str, asyncio.Task[Loaded]] = {}
        self._backlog = Backlog(_UNKNOWN_SPEED, options.deadline_s * ESTIMATED_SHARE)
        try:
            first = self._load(snapshot)
        except _NOT_LOADED as error:
            logging.getLogger("ray.serve").error("starting without a model: %s", last_line(error))
        else:
            self._keep(snapshot, first)
            self._expect(snapshot, first)

        @serve.batch(max_batch_size=options.batch_size, batch_wait_timeout_s=options.batch_wait_s)
        async def translate(batch: list[Work]) -> list[list[Tensor]]:
            requests = [request for _, request in batch]
            self._backlog.start(requests)
            began = time.perf_counter()
            try:
                return await asyncio.to_thread(translated, batch)
            finally:
                self._backlog.finish(requests, time.perf_counter() - began)

        self._translate = translate

    def _load(self, snapshot: str) -> Loaded:
        handler = RequestHandler(Snapshot.open(snapshot), self._device, self._options.max_pixels)
        return Loaded(handler, seconds_per_pixel(handler))

    def _expect(self, snapshot: str, loaded: Loaded) -> None:
        self._backlog.expect(loaded.seconds_per_pixel)
        self._expected = snapshot

    def _keep(self, snapshot: str, loaded: Loaded) -> None:
        self._loaded.pop(snapshot, None)
        self._loaded[snapshot] = loaded
        while len(self._loaded) > KEPT:
            del self._loaded[next(iter(self._loaded))]

    async def _load_and_keep(self, snapshot: str) -> Loaded:
        try:
            loaded = await asyncio.to_thread(self._load, snapshot)
        finally:
            del self._loading[snapshot]
        self._keep(snapshot, loaded)
        return loaded

    async def handler(self, snapshot: str) -> RequestHandler:
        """The generators of a snapshot, by whose speed requests are admitted from here on.

        Raises:
            Refusal: if they cannot be loaded here.
        """
        loaded = self._loaded.get(snapshot)
        if loaded is None:
            loading = self._loading.get(snapshot)
            if loading is None:
                loading = self._loading[snapshot] = asyncio.create_task(self._load_and_keep(snapshot))
            try:
                loaded = await asyncio.shield(loading)  # who gives up must not end it for others
            except _NOT_LOADED as error:
                raise Refusal(503, f"the model cannot be loaded: {last_line(error)}") from error
        self._keep(snapshot, loaded)
        if snapshot != self._expected:
            self._expect(snapshot, loaded)
        return loaded.handler

    async def load(self, snapshot: str) -> str:
        """Load a snapshot before requests name it. Returns what is wrong, or nothing."""
        try:
            await self.handler(snapshot)
        except Refusal as refusal:
            return refusal.sentence
        return ""

    async def max_pixels(self) -> int:
        """Of the largest image that meets the deadline."""
        return self._backlog.max_pixels()

    async def __call__(self, request: TranslationRequest) -> Translation | Refusal:
        try:
            handler = await self.handler(request.snapshot)
            self._backlog.refuse_slow(*image_size(request.data), request.reconstruction)
            decoded = await asyncio.to_thread(handler.decode, request)
            self._backlog.admit(decoded)
        except Refusal as refusal:
            return refusal  # raised, it would arrive as a failure of the replica
        try:
            images = await self._translate((handler, decoded))
        finally:
            self._backlog.withdraw(decoded)  # the caller may have given up
        return await asyncio.to_thread(handler.encode, images, request)


def translated(batch: Sequence[Work]) -> list[list[Tensor]]:
    """What the generators of each request make of its image: those of one snapshot as `RequestHandler.translate`."""
    results: list[list[Tensor]] = [[] for _ in batch]
    for handler in {id(handler): handler for handler, _ in batch}.values():
        places = [place for place, (own, _) in enumerate(batch) if own is handler]
        for place, images in zip(places, handler.translate([batch[place][1] for place in places]), strict=True):
            results[place] = images
    return results


def deploy(name: str, snapshot: Snapshot, options: ServingOptions, gpus: float) -> tuple[DeploymentHandle, int]:
    """Start the replicas of an application `name`, each with `gpus` GPUs, or on the CPU if that is 0.

    Returns:
        Their handle, and the pixels of the largest image that meets the deadline.

    Raises:
        UsageError: if they do not start.
    """
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    deployment = serve.deployment(**options_of(options, options.replicas, gpus))(Replica)
    application = deployment.bind(str(snapshot.folder.resolve()), gpus > 0, options)
    try:
        serve.start(proxy_location="Disabled")
        handle = serve.run(application, name=name, route_prefix=None)
        loader_of(handle)(snapshot)
        return handle, handle.max_pixels.remote().result()
    except (UsageError, RuntimeError, RayServeException, ray.exceptions.RayError) as error:
        raise UsageError(f"the replicas did not start: {last_line(error)}") from error


def options_of(options: ServingOptions, replicas: int, gpus: float) -> dict[str, Any]:
    """Those of Serve for a deployment of so many replicas, each with so many GPUs."""
    return {
        "num_replicas": replicas,
        "max_ongoing_requests": options.max_ongoing,
        "max_queued_requests": replicas * QUEUE,
        "health_check_period_s": 1,  # Serve's 10 s would be added to every restart of a replica that died
        "graceful_shutdown_wait_loop_s": 0.1,  # the service has answered all requests by then
        "ray_actor_options": {"num_cpus": 1, "num_gpus": gpus},
    }


def loader_of(handle: DeploymentHandle) -> Callable[[Snapshot], None]:
    """Has a replica of `handle` load a snapshot. The function raises UsageError if it cannot."""

    def load(snapshot: Snapshot) -> None:
        try:
            wrong = handle.load.remote(str(snapshot.folder.resolve())).result(timeout_s=LOAD_S)
        except (RuntimeError, TimeoutError, RayServeException, ray.exceptions.RayError) as error:
            raise UsageError(f"a replica cannot load {snapshot.folder}: {last_line(error)}") from error
        if wrong:
            raise UsageError(wrong)

    return load


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


def readiness_of(name: str) -> Callable[[], Awaitable[bool]]:
    """Tells whether a replica of the application `name` runs, as of the last second."""
    asked, last = -math.inf, True

    def runs() -> bool:
        try:
            deployments = serve.status().applications[name].deployments.values()
        except (KeyError, RuntimeError, RayServeException, ray.exceptions.RayError):
            return False
        return all(one.replica_states.get(ReplicaState.RUNNING) for one in deployments)

    async def ready() -> bool:
        nonlocal asked, last
        if time.monotonic() - asked >= 1:
            asked = time.monotonic()  # others that ask meanwhile get the last answer
            last = await asyncio.to_thread(runs)
        return last

    return ready
