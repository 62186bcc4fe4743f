"""Counts and durations of requests, for Prometheus."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cyclegan_dist.service.messages import Refusal
from cyclegan_dist.service.responses import HEADERS

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # bounds of the histogram


class Metrics:
    """Of one service.

    Args:
        model: gives the exact name of the model that is served, which requests are counted by.
    """

    def __init__(self, model: Callable[[], str]):
        self.model, self._registry = model, CollectorRegistry()
        counted = {"labelnames": ("model", "status"), "registry": self._registry}
        self.requests = Counter("cyclegan_requests", "Requests for a translation", **counted)
        self.canary_failures = Counter(
            "cyclegan_canary_failures",
            "Requests that the canary failed to translate, and the first model translated",
            ("model",),
            registry=self._registry,
        )
        self.running = Gauge("cyclegan_requests_running", "Requests that are read or answered", registry=self._registry)
        self.seconds = Histogram(
            "cyclegan_request_seconds",
            "From the head of a request to the end of its answer, of those that were translated",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )

    async def page(self, request: Request) -> Response:
        """All of them, in the format that Prometheus reads."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST, headers=HEADERS)


class Measured:
    """Middleware that counts requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        metrics, first = self._metrics, self._metrics.model()
        began, status = time.perf_counter(), 499  # of a client that has gone

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        with metrics.running.track_inprogress():
            try:
                await self._app(scope, receive, noted)
            except Refusal as refusal:
                status = refusal.status
                raise
            except Exception:
                status = 500
                raise
            finally:
                model = scope.get("state", {}).get("model", first)  # that has answered, if it is another one
                metrics.requests.labels(model, str(status)).inc()
                if status == 200:
                    metrics.seconds.labels(model).observe(time.perf_counter() - began)
