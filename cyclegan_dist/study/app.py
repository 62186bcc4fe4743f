"""The HTTP application of a study: the page, and what it asks for. Requests have no bodies, answers are JSON or PNG."""

import importlib.resources
import math
import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import jinja2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cyclegan_dist.service.messages import Refusal
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.responses import HEADERS, PAGE_POLICY, NoBody, SameOrigin, failed, refused, unknown
from cyclegan_dist.study.answers import Answer, AnswerError, Answers, Progress, session_id
from cyclegan_dist.study.design import IMAGES, Side, Study

PAGE = "page.html"
_LONGEST_MS = 10**10  # four months: there is no time limit


def make_app(
    folder: Path,
    study: Study,
    answers: Answers,
    consent: str,
    hosts: AllowedHosts,
    clock: Callable[[], float] = time.time,
    rng: random.Random | None = None,
) -> Starlette:
    """The study as an ASGI application.

    Args:
        folder: of the study, with its images.
        study: its design.
        answers: its database.
        consent: text that participants agree to; paragraphs are separated by empty lines.
        hosts: under which it may be requested.
        clock: seconds since 1970.
        rng: for assignments, images and sides; by default the system's, which nobody can predict.
    """
    served = _ServedStudy(folder, study, answers, consent, clock, rng or random.SystemRandom())
    return Starlette(
        routes=[
            Route("/", served.page),
            Route("/health", served.health),
            Route("/session", served.session),
            Route("/session", served.begin, methods=["POST"]),
            Route("/trials/{number:int}/start", served.start, methods=["POST"]),
            Route("/trials/{number:int}/answer", served.answer, methods=["POST"]),
            Route("/trials/{number:int}/{side}", served.image),
        ],
        middleware=[Middleware(SameOrigin, hosts), Middleware(NoBody)],
        exception_handlers={Refusal: refused, AnswerError: _conflict, HTTPException: _unknown, Exception: failed},
    )


def page_template() -> str:
    """The page, of which `title`, `consent` and `nonce` are filled in when it is served."""
    return importlib.resources.files("cyclegan_dist.study").joinpath(PAGE).read_text()


class _ServedStudy:
    """Its methods are functions, not coroutines: Starlette runs them in threads, because they wait for the disk."""

    def __init__(
        self,
        folder: Path,
        study: Study,
        answers: Answers,
        consent: str,
        clock: Callable[[], float],
        rng: random.Random,
    ):
        self._folder, self._study, self._answers, self._clock = folder, study, answers, clock
        self._consent, self._rng = consent, rng
        self._template = jinja2.Environment(autoescape=True).from_string((folder / PAGE).read_text())

    def page(self, request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        paragraphs = [text.strip() for text in self._consent.split("\n\n") if text.strip()]
        text = self._template.render(consent=paragraphs, nonce=nonce)
        return HTMLResponse(text, headers=HEADERS | {"Content-Security-Policy": PAGE_POLICY.format(nonce=nonce)})

    def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=HEADERS)

    def session(self, request: Request) -> Response:
        _, progress = self._session(request)
        return self._state(progress)

    def begin(self, request: Request) -> Response:
        session, _ = self._session(request)
        self._answers.begin(session, self._study, self._consent, self._rng)
        return self.session(request)

    def image(self, request: Request) -> Response:
        session = self._begun(request)
        side = request.path_params["side"]
        if side not in get_args(Side):
            raise HTTPException(404)
        pair = self._answers.pair(session, request.path_params["number"])
        name = pair.real if side == pair.real_side else pair.fake
        # Not FileResponse, whose headers have the time at which the file was written.
        return Response((self._folder / IMAGES / name).read_bytes(), media_type="image/png", headers=HEADERS)

    def start(self, request: Request) -> Response:
        session = self._begun(request)
        show = self._answers.start(session, request.path_params["number"], self._clock())
        return JSONResponse({"show": show}, headers=HEADERS)

    def answer(self, request: Request) -> Response:
        session = self._begun(request)
        choice = request.query_params.get("choice", "")
        if choice not in get_args(Side):
            raise Refusal(422, "choice: give left or right")
        exposure = request.query_params.get("exposure_ms", "")
        found = Answer(
            choice="left" if choice == "left" else "right",
            exposure_ms=_milliseconds("exposure_ms", exposure) if exposure else None,
            response_ms=_milliseconds("response_ms", request.query_params.get("response_ms", "")),
            hidden=request.query_params.get("hidden", "") == "true",
        )
        correct = self._answers.answer(session, request.path_params["number"], found, self._clock())
        return JSONResponse({"correct": correct}, headers=HEADERS)

    def _session(self, request: Request) -> tuple[str, Progress]:
        """The session of the request's token, and its state."""
        session = session_id(request.headers.get("authorization", "").removeprefix("Bearer "))
        progress = self._answers.progress(session)
        if progress is None:
            raise Refusal(403, "this link is not valid: ask whoever invited you for another")
        if progress.expires < self._clock():
            raise Refusal(410, "this link has expired: ask whoever invited you for another")
        return session, progress

    def _begun(self, request: Request) -> str:
        session, progress = self._session(request)
        if not progress.begun:
            raise AnswerError("the participant has not agreed yet")
        return session

    def _state(self, progress: Progress) -> Response:
        protocol = self._study.protocol
        state = {
            "begun": progress.begun,
            "next": progress.next,
            "started": progress.started,
            "practice": protocol.practice,
            "scored": protocol.scored,
            "exposure_ms": protocol.exposure_ms,
            "size": self._study.size,
        }
        return JSONResponse(state, headers=HEADERS)


def _milliseconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _LONGEST_MS:
        raise Refusal(422, f"{name}: give milliseconds, 0 to {_LONGEST_MS}")
    return value


async def _conflict(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 409, headers=HEADERS)


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return unknown(error, request, "/, /session, /trials and /health")
