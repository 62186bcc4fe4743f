"""The service on Ray: a cluster, its replicas, and the HTTP server in this process.

The server is not behind Serve's HTTP proxy, which reads whole bodies of any length into memory and sends its own error
messages under load.
"""

import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import ray

from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.cluster import cluster
from cyclegan_dist.service.access import Access
from cyclegan_dist.service.messages import ServedModel
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.server import address, run_until_signal

QUEUE = 16  # requests that wait for a place in a batch, per replica
ESTIMATED_SHARE = 0.5  # of the deadline that an image and those before it may take by the estimate, on an idle machine
SHOWN_SIDE, SHOWN_S = 256, 2.0  # users are told what an image of this side costs if it is more than that
_LOADED_MEANWHILE = "cyclegan_dist.orchestration.replicas"  # torch and Ray Serve, while Ray's processes start


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
        follow_s: seconds between two looks at which version an alias names; 0: it is not looked again.
        canary_share: of the requests, for a second model if there is one.
    """

    max_bytes: int
    max_pixels: int
    replicas: int
    batch_size: int
    batch_wait_s: float
    deadline_s: float
    requests_per_client: int
    follow_s: float = 0.0
    canary_share: float = 0.0

    @property
    def max_ongoing(self) -> int:
        """Requests that a replica handles at once: while one batch is computed, the next is decoded."""
        return 2 * self.batch_size


@dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
        source: of the model, for people, and to follow if it is an alias of the registry.
        model: what it names now; every node must be able to read the snapshot's folder.
        canary: source of a second one, which gets a replica of its own: what it does to that one cannot disturb the
            others; empty: there is none.
        canary_model: what that one names now, if it names one.
    """

    source: str
    model: ServedModel
    canary: str = ""
    canary_model: ServedModel | None = None


def serve_model(
    served: Served,
    listener: socket.socket,
    hosts: AllowedHosts,
    options: ServingOptions,
    *,
    access: Access,
    secret: str = "",
    root_path: str = "",
    tls: tuple[Path, Path] | None = None,
) -> None:
    """Answer requests at a listening socket until a signal arrives, on the cluster of RAY_ADDRESS or on one of this
    machine's own.

    Args:
        served: what is served.
        listener: the socket.
        hosts: under which it may be requested.
        options: how.
        access: who may use the service, and what is recorded.
        secret: of the webhook by which an MLflow server notifies that an alias has moved; empty: there is none.
        root_path: prefix of the paths that clients see, which a proxy removes.
        tls: files of the certificate and of its key.

    Raises:
        UsageError: if the cluster has no room for the replicas, or they do not start.
    """
    name = f"cyclegan_dist-{secrets.token_hex(4)}"  # there may be others on the same cluster
    with cluster(meanwhile=_LOADED_MEANWHILE), _ending_on_sigterm(), ExitStack() as stack:
        gpus = _gpus(options.replicas, canary=bool(served.canary))
        from ray import serve

        from cyclegan_dist.orchestration.application import follow_and_answer, limits_of
        from cyclegan_dist.orchestration.replicas import deploy, readiness_of
        from cyclegan_dist.tracking.quantities import duration

        stack.callback(serve.delete, name)
        handle, max_pixels = deploy(name, served.model.snapshot, options, gpus)
        canary = None
        if served.canary:
            stack.callback(serve.delete, f"{name}-canary")
            # Of the first model, which is known to load; the canary's own may fail.
            canary, _ = deploy(f"{name}-canary", served.model.snapshot, replace(options, replicas=1), gpus)
        limits = limits_of(options, max_pixels)
        note = ""
        if limits.max_pixels < options.max_pixels:
            megapixels = limits.max_pixels / 1e6
            note = f"images of at most {megapixels:.2g} megapixels can be answered in {options.deadline_s:g} s; "
        seconds = SHOWN_SIDE**2 * options.deadline_s * ESTIMATED_SHARE / max(1, max_pixels)
        if seconds > SHOWN_S:
            note += f"one of {SHOWN_SIDE}x{SHOWN_SIDE} takes about {duration(seconds)}; "
        if served.canary:
            note += f"{options.canary_share:.0%} of the requests go to {served.canary}; "
        app, followed = follow_and_answer(
            served,
            limits,
            hosts,
            options,
            replicas=handle,
            canary=canary,
            access=access,
            ready=readiness_of(name),
            secret=secret,
        )
        for one in followed:
            stack.enter_context(one.following(options.follow_s, notified=bool(secret)))
        url = address(listener, "https" if tls else "http")
        text = f"serving {served.source} at {url} ({note}Ctrl-C ends it)"
        run_until_signal(app, listener, text, root_path=root_path, tls=tls)


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """End with the usual status on SIGTERM, for which Ray installs a handler that aborts with a stack trace."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _gpus(replicas: int, *, canary: bool) -> float:
    """The GPUs of each replica. Refuses more replicas than the cluster has room for; where there is none for a canary's
    alone, GPUs are shared.
    """
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    room, kind = (gpus, "GPUs") if gpus else (cpus, "CPU cores")
    if replicas > room:
        raise UsageError(f"--replicas {replicas} is more than the cluster's {room} {kind}: lower it, or add nodes")
    if not gpus and replicas + canary > room:
        raise UsageError(
            f"--replicas {replicas} and the canary's are more than the cluster's {room} {kind}: lower it, or add nodes"
        )
    return 0.0 if not gpus else 1.0 if replicas + canary <= gpus else 0.5
