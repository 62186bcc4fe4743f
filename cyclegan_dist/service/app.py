"""The HTTP service: a page, endpoints for files, forms and JSON. The translations come from a given function."""

import asyncio
import base64
import math
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cyclegan_dist.data.domain_names import domain_label
from cyclegan_dist.data.encode import EncodedImage
from cyclegan_dist.pages.template import page_template
from cyclegan_dist.service.access import Access
from cyclegan_dist.service.canary import HEADER, Canary
from cyclegan_dist.service.card import without_folders
from cyclegan_dist.service.description import Description
from cyclegan_dist.service.messages import Answerer, Limits, Refusal, ServedModel, Translation, TranslationRequest
from cyclegan_dist.service.metrics import Measured, Metrics
from cyclegan_dist.service.openapi import MEDIA_TYPES, MODEL_HEADER
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.places import InPlace, Places
from cyclegan_dist.service.requests import read_file_request, read_json_request
from cyclegan_dist.service.responses import CLIENT_GONE, HEADERS, PAGE_POLICY, SameOrigin, failed, refused, unknown
from cyclegan_dist.service.webhook import Webhook


def make_app(
    title: str,
    model: Callable[[], ServedModel],
    limits: Limits,
    hosts: AllowedHosts,
    answer: Answerer,
    *,
    access: Access | None = None,
    canary: Canary | None = None,
    webhook: Webhook | None = None,
    ready: Callable[[], Awaitable[bool]] | None = None,
) -> Starlette:
    """The service as an ASGI application.

    Args:
        title: of the page: what is served.
        model: gives what is served now; its card is shown, and its directions are offered.
        limits: of requests.
        hosts: under which it may be requested.
        answer: translates, or returns or raises a Refusal. It is cancelled at the deadline.
        access: who may use it, and what is recorded; without it everyone may, and nothing is.
        canary: a second model, for a share of the requests.
        webhook: receives notifications that an alias has moved; without it they are refused.
        ready: tells whether a process can translate now; without it there always is one.

    Returns:
        The application; its `state.stop()` ends it within `STOP_SECONDS`, with an answer to all requests.
    """
    access = access or Access()
    metrics = Metrics(lambda: model().name)
    private = access.around_private()
    service = _Service(title, model, limits, answer, canary, metrics, ready or _always, locked=bool(private))
    description = Description(title, model, limits, locked=bool(private))
    translating = [Middleware(Measured, metrics), *private, Middleware(InPlace, service.places)]
    app = Starlette(
        routes=[
            Route("/", service.page),
            Route("/health", service.health),
            Route("/ready", service.readiness),
            Route("/card", service.card_file, middleware=private),
            Route("/openapi.json", description.document),
            Route("/docs", description.page),
            Route("/hooks/mlflow", (webhook or Webhook("", lambda _: False)).receive, methods=["POST"]),
            Route("/metrics", metrics.page, middleware=private),
            Route("/translate", service.translate, methods=["POST"], middleware=translating),
            Route("/v1/translate", service.translate_json, methods=["POST"], middleware=translating),
        ],
        middleware=[*access.around_all(), Middleware(SameOrigin, hosts)],
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
    def __init__(
        self,
        title: str,
        model: Callable[[], ServedModel],
        limits: Limits,
        answer: Answerer,
        canary: Canary | None,
        metrics: Metrics,
        ready: Callable[[], Awaitable[bool]],
        *,
        locked: bool,
    ):
        self.title, self.model, self.limits, self._answer = title, model, limits, answer
        self._canary, self._metrics, self._ready = canary, metrics, ready
        self._locked = locked
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
            title=self.title,
            facts=facts,
            directions=snapshot.directions,
            names=names,
            limits=self.limits,
            locked=self._locked,
            nonce=nonce,
        )
        return HTMLResponse(text, headers=HEADERS | {"Content-Security-Policy": PAGE_POLICY.format(nonce=nonce)})

    async def health(self, request: Request) -> Response:
        facts: dict[str, object] = {"status": "ok", "model": self.model().name}
        if self._canary:
            second = self._canary.model()
            facts |= {"canary": second and second.name, "canary_share": self._canary.share}
        return JSONResponse(facts, headers=HEADERS)

    async def readiness(self, request: Request) -> Response:
        if not await self._ready():
            raise Refusal(503, "no process can translate now: try again in a moment", retry_after=5)
        return JSONResponse({"ready": True}, headers=HEADERS)

    async def card_file(self, request: Request) -> Response:
        return JSONResponse(without_folders(self.model().snapshot.card), headers=HEADERS)

    async def translate(self, request: Request) -> Response:
        async with self.places.until_stopped():
            model = self.model()  # also if it is another one when the body has arrived
            asked = await read_file_request(request, model.snapshot, self.limits.max_bytes)
            name, made = await self._translation(request, asked, model)
        image = made.image
        return Response(image.data, media_type=MEDIA_TYPES[image.extension], headers=HEADERS | _by(name))

    async def translate_json(self, request: Request) -> Response:
        async with self.places.until_stopped():
            model = self.model()
            asked = await read_json_request(request, model.snapshot, self.limits.max_bytes)
            name, made = await self._translation(request, asked, model)
        answer = {"model": name, "media_type": MEDIA_TYPES[made.image.extension], "image": _text(made.image)}
        if made.reconstruction:
            answer["reconstruction_media_type"] = MEDIA_TYPES[made.reconstruction.extension]
            answer["reconstruction"] = _text(made.reconstruction)
        return JSONResponse(answer, headers=HEADERS | _by(name))

    async def _translation(
        self, request: Request, asked: TranslationRequest, model: ServedModel
    ) -> tuple[str, Translation]:
        """The name of the model that has answered, and its answer."""
        request.state.model, request.state.direction = model.name, asked.direction
        timer = asyncio.timeout(self.limits.deadline_s)
        try:
            async with timer:
                second = self._canary and self._canary.chosen(model, asked.direction, request.headers.get(HEADER, ""))
                if self._canary and second:
                    made = await self._canary.attempt(_for(second, asked))
                    if made:
                        request.state.model = second.name
                        return second.name, made
                answer = await self._answer(_for(model, asked))
        except TimeoutError:
            if not timer.expired():
                raise
            sentence = f"no answer within {self.limits.deadline_s:g} seconds: try again later, or reduce the image"
            raise Refusal(503, sentence, retry_after=math.ceil(self.limits.deadline_s / 2)) from None
        if isinstance(answer, Refusal):
            raise answer
        if second:
            self._metrics.canary_failures.labels(second.name).inc()
        return model.name, answer


async def _always() -> bool:
    return True


def _by(name: str) -> dict[str, str]:
    """The header that names a model; percent-encoded, because headers are ASCII, and names may be in any script."""
    return {MODEL_HEADER: quote(name, safe=":/@ ")}


def _for(model: ServedModel, asked: TranslationRequest) -> TranslationRequest:
    return replace(asked, snapshot=str(model.snapshot.folder.resolve()))


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
    root = request.scope.get("root_path", "")
    pages = ("/", "/docs", "/translate", "/v1/translate", "/card", "/metrics", "/health")
    return unknown(error, request, f"{', '.join(root + page for page in pages)} and {root}/ready")


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)
