"""The HTTP service: a page, an endpoint for files and one for JSON. The translations come from a given function."""

import asyncio
import base64
import math
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cyclegan_dist.data.domain_names import domain_label
from cyclegan_dist.data.encode import EncodedImage
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.pages.template import page_template
from cyclegan_dist.service.messages import Limits, Refusal, ServedModel, Translation, TranslationRequest
from cyclegan_dist.service.metrics import Measured, Metrics
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.places import InPlace, Places
from cyclegan_dist.service.requests import read_file_request, read_json_request
from cyclegan_dist.service.responses import HEADERS, PAGE_POLICY, SameOrigin, failed, refused, unknown

Answerer = Callable[[TranslationRequest], Awaitable[Translation | Refusal]]

CLIENT_GONE = 499  # has closed the connection; a code of nginx, for the count of answers

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "npy": "application/octet-stream"}


def make_app(
    title: str, model: Callable[[], ServedModel], limits: Limits, hosts: AllowedHosts, answer: Answerer
) -> Starlette:
    """The service as an ASGI application.

    Args:
        title: of the page: what is served.
        model: gives what is served now; its card is shown, and its directions are offered.
        limits: of requests.
        hosts: under which it may be requested.
        answer: translates, or returns or raises a Refusal. It is cancelled at the deadline.

    Returns:
        The application; its `state.stop()` ends it within `STOP_SECONDS`, with an answer to all requests.
    """
    service = _Service(title, model, limits, answer)
    metrics = Metrics(lambda: model().name)
    translating = [Middleware(Measured, metrics), Middleware(InPlace, service.places)]
    app = Starlette(
        routes=[
            Route("/", service.page),
            Route("/health", service.health),
            Route("/card", service.card_file),
            Route("/metrics", metrics.page),
            Route("/translate", service.translate, methods=["POST"], middleware=translating),
            Route("/v1/translate", service.translate_json, methods=["POST"], middleware=translating),
        ],
        middleware=[Middleware(SameOrigin, hosts)],
        exception_handlers={
            Refusal: refused,
            HTTPException: _unknown,
            ClientDisconnect: _gone,
            Exception: failed,
        },
    )
    app.state.stop = service.places.stop
    return app


class _Service:
    def __init__(self, title: str, model: Callable[[], ServedModel], limits: Limits, answer: Answerer):
        self.title, self.model, self.limits, self._answer = title, model, limits, answer
        self.places = Places(limits)
        self._template = page_template("service/page.html")

    async def page(self, request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        snapshot = self.model().snapshot
        facts = {name: snapshot.card[key] for name, key in _FACTS.items() if snapshot.card.get(key) not in (None, "")}
        names = snapshot.domain_names
        channels = (("A", "input_nc"), ("B", "output_nc"))
        facts |= {f"channels of {domain_label(domain, names)}": snapshot.card[key] for domain, key in channels}
        text = self._template.render(
            title=self.title, facts=facts, directions=snapshot.directions, names=names, limits=self.limits, nonce=nonce
        )
        return HTMLResponse(text, headers=HEADERS | {"Content-Security-Policy": PAGE_POLICY.format(nonce=nonce)})

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": self.model().name}, headers=HEADERS)

    async def card_file(self, request: Request) -> Response:
        return JSONResponse(self.model().snapshot.card, headers=HEADERS)

    async def translate(self, request: Request) -> Response:
        async with self.places.until_stopped():
            snapshot = self.model().snapshot  # also if it is another one when the body has arrived
            asked = await read_file_request(request, snapshot.directions, self.limits.max_bytes)
            image = (await self._translation(asked, snapshot)).image
        return Response(image.data, media_type=MEDIA_TYPES[image.extension], headers=HEADERS)

    async def translate_json(self, request: Request) -> Response:
        async with self.places.until_stopped():
            snapshot = self.model().snapshot
            asked = await read_json_request(request, snapshot.directions, self.limits.max_bytes)
            made = await self._translation(asked, snapshot)
        answer: dict[str, str] = {"media_type": MEDIA_TYPES[made.image.extension], "image": _text(made.image)}
        if made.reconstruction:
            answer["reconstruction_media_type"] = MEDIA_TYPES[made.reconstruction.extension]
            answer["reconstruction"] = _text(made.reconstruction)
        return JSONResponse(answer, headers=HEADERS)

    async def _translation(self, asked: TranslationRequest, snapshot: Snapshot) -> Translation:
        asked = replace(asked, snapshot=str(snapshot.folder.resolve()))
        timer = asyncio.timeout(self.limits.deadline_s)
        try:
            async with timer:
                answer = await self._answer(asked)
        except TimeoutError:
            if not timer.expired():
                raise
            sentence = f"no answer within {self.limits.deadline_s:g} seconds: try again later, or reduce the image"
            raise Refusal(503, sentence, retry_after=math.ceil(self.limits.deadline_s / 2)) from None
        if isinstance(answer, Refusal):
            raise answer
        return answer


_FACTS = {
    "run": "run",
    "method": "method",
    "images are": "translation",
    "images seen": "nimg",
}


def _text(image: EncodedImage) -> str:
    return base64.b64encode(image.data).decode()


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return unknown(error, request, "/, /translate, /v1/translate, /card, /metrics and /health")


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)
