"""The HTTP service: a page, an endpoint for files and one for JSON. The translations come from a given function."""

import asyncio
import base64
import importlib.resources
import math
import secrets
from collections.abc import Awaitable, Callable

import jinja2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cyclegan_dist.data.encode import EncodedImage
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.service.messages import Limits, Refusal, Translation, TranslationRequest
from cyclegan_dist.service.origins import AllowedHosts, refuse_other_sites
from cyclegan_dist.service.places import InPlace, Places
from cyclegan_dist.service.requests import read_file_request, read_json_request

Answerer = Callable[[TranslationRequest], Awaitable[Translation | Refusal]]

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "npy": "application/octet-stream"}
_POLICY = (
    "default-src 'none'; img-src blob: data:; connect-src 'self'; "
    "style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def make_app(title: str, snapshot: Snapshot, limits: Limits, hosts: AllowedHosts, answer: Answerer) -> Starlette:
    """The service as an ASGI application.

    Args:
        title: of the page: what is served.
        snapshot: of the generators; its card is served, and its directions are offered.
        limits: of requests.
        hosts: under which it may be requested.
        answer: translates, or returns or raises a Refusal. It is cancelled at the deadline.

    Returns:
        The application; its `state.stop()` ends it within `STOP_SECONDS`, with an answer to all requests.
    """
    service = _Service(title, snapshot, limits, answer)
    in_place = [Middleware(InPlace, service.places)]
    app = Starlette(
        routes=[
            Route("/", service.page),
            Route("/health", service.health),
            Route("/card", service.card_file),
            Route("/translate", service.translate, methods=["POST"], middleware=in_place),
            Route("/v1/translate", service.translate_json, methods=["POST"], middleware=in_place),
        ],
        middleware=[Middleware(_SameOrigin, hosts)],
        exception_handlers={
            Refusal: _refused,
            HTTPException: _unknown,
            ClientDisconnect: _gone,
            Exception: _failed,  # which Starlette raises again, so that the server logs it
        },
    )
    app.state.stop = service.places.stop
    return app


class _SameOrigin:
    """Middleware that refuses requests of pages of other sites."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts):
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            request = Request(scope)
            try:
                refuse_other_sites(request, self._hosts)
            except Refusal as refusal:
                app = await _refused(request, refusal)
        await app(scope, receive, send)


class _Service:
    def __init__(self, title: str, snapshot: Snapshot, limits: Limits, answer: Answerer):
        self.title, self.limits, self._answer = title, limits, answer
        self.card, self.directions = snapshot.card, snapshot.directions
        self.places = Places(limits)
        source = importlib.resources.files("cyclegan_dist.service").joinpath("page.html").read_text()
        self._template = jinja2.Environment(autoescape=True).from_string(source)

    async def page(self, request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        facts = {name: self.card[key] for name, key in _FACTS.items() if self.card.get(key) not in (None, "")}
        text = self._template.render(
            title=self.title, facts=facts, directions=self.directions, limits=self.limits, nonce=nonce
        )
        return HTMLResponse(text, headers=_HEADERS | {"Content-Security-Policy": _POLICY.format(nonce=nonce)})

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=_HEADERS)

    async def card_file(self, request: Request) -> Response:
        return JSONResponse(self.card, headers=_HEADERS)

    async def translate(self, request: Request) -> Response:
        async with self.places.until_stopped():
            asked = await read_file_request(request, self.directions, self.limits.max_bytes)
            image = (await self._translation(asked)).image
        return Response(image.data, media_type=MEDIA_TYPES[image.extension], headers=_HEADERS)

    async def translate_json(self, request: Request) -> Response:
        async with self.places.until_stopped():
            asked = await read_json_request(request, self.directions, self.limits.max_bytes)
            made = await self._translation(asked)
        answer: dict[str, str] = {"media_type": MEDIA_TYPES[made.image.extension], "image": _text(made.image)}
        if made.reconstruction:
            answer["reconstruction_media_type"] = MEDIA_TYPES[made.reconstruction.extension]
            answer["reconstruction"] = _text(made.reconstruction)
        return JSONResponse(answer, headers=_HEADERS)

    async def _translation(self, asked: TranslationRequest) -> Translation:
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
    "channels of A": "input_nc",
    "channels of B": "output_nc",
}


def _text(image: EncodedImage) -> str:
    return base64.b64encode(image.data).decode()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    headers = dict(_HEADERS)
    if error.status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not read
    if error.status == 503:
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse({"error": error.sentence}, error.status, headers)


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    sentence = {
        404: "no such page: there are /, /translate, /v1/translate, /card and /health",
        405: f"{request.method} is not for this page: use {headers.get('Allow', 'another method')}",
    }.get(error.status_code, error.detail)
    return JSONResponse({"error": sentence}, error.status_code, _HEADERS | headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # the client has closed the connection


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the service failed on this request; the reason is in its log"}, 500, _HEADERS)
