"""Limits on the requests that are read, answered and sent at once, in all and for each client address."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cyclegan_dist.service.messages import Limits, Refusal

STOP_SECONDS = 20  # for requests that are being answered when the service is stopped; Kubernetes kills after 30
_SLICE = 1 << 16  # bytes of an answer that are handed to the connection at once


class Places:
    """Places of requests. Its methods are called in the event loop of the server."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._clients: Counter[str] = Counter()
        self._waiting: set[asyncio.Timeout] = set()
        self._stop_at: float | None = None

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """Hold a place for a client. Raises Refusal if there is none, or the service is being stopped."""
        if self._stop_at is not None:
            raise _stopping()
        if (count := self._clients.total()) >= self._limits.max_requests:
            raise Refusal(503, f"{count} requests are being answered: try again in a moment")
        if (count := self._clients[client]) >= self._limits.max_requests_per_client:
            raise Refusal(503, f"{count} requests of your address are being answered: try again in a moment")
        self._clients[client] += 1
        try:
            yield
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    @asynccontextmanager
    async def until_stopped(self) -> AsyncIterator[None]:
        """Turn what is still waiting into a Refusal some time after the service has been stopped."""
        timer = asyncio.timeout_at(self._stop_at)
        try:
            async with timer:
                self._waiting.add(timer)
                yield
        except TimeoutError:
            if not timer.expired():
                raise
            raise _stopping() from None
        finally:
            self._waiting.discard(timer)

    def stop(self) -> None:
        """Refuse new requests, and in `STOP_SECONDS` those that wait for an answer then."""
        self._stop_at = asyncio.get_running_loop().time() + STOP_SECONDS
        for timer in self._waiting:
            timer.reschedule(self._stop_at)


class InPlace:
    """Middleware that holds a place while a request is read, answered, and its answer taken by the client."""

    def __init__(self, app: ASGIApp, places: Places):
        self._app, self._places = app, places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_slowly(message: Message) -> None:
            # The server keeps what it is given, without limit, but waits between two parts until most has been taken.
            body = memoryview(message.get("body", b""))
            for start in range(0, len(body) - _SLICE, _SLICE):
                await send({"type": message["type"], "body": bytes(body[start : start + _SLICE]), "more_body": True})
            if len(body) > _SLICE:
                message = {**message, "body": bytes(body[(len(body) - 1) // _SLICE * _SLICE :])}
            await send(message)

        with self._places.place(scope["client"][0] if scope["client"] else ""):
            await self._app(scope, receive, send_slowly)


def _stopping() -> Refusal:
    return Refusal(503, "the service is being stopped: try again in a moment", retry_after=10)
