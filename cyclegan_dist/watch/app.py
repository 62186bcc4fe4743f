"""The HTTP application of the page: the page, what has changed since its last request, and grids of samples."""

import dataclasses
import importlib.resources
import secrets
from pathlib import Path
from typing import Any

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
from cyclegan_dist.tracking.overview import RunOverview, find_runs
from cyclegan_dist.tracking.quantities import duration, size
from cyclegan_dist.watch.kept import KeptOverviews
from cyclegan_dist.watch.records import grid_path, new_records

LARGEST_OFFSET = 2**53  # of a JSON number


def make_app(folder: Path, hosts: AllowedHosts) -> Starlette:
    """The page as an ASGI application.

    Args:
        folder: of runs, or that of one.
        hosts: under which it may be requested.
    """
    watched = _WatchedFolder(folder)
    return Starlette(
        routes=[Route("/", watched.page), Route("/state", watched.state), Route("/grid", watched.grid)],
        middleware=[Middleware(SameOrigin, hosts), Middleware(NoBody)],
        exception_handlers={Refusal: refused, HTTPException: _unknown, OSError: _unreadable, Exception: failed},
    )


class _WatchedFolder:
    """Its methods are functions, not coroutines: Starlette runs them in threads, because they wait for the disk."""

    def __init__(self, folder: Path):
        self._folder, self._overviews = folder, KeptOverviews()
        files = importlib.resources.files("cyclegan_dist.watch")
        self._style, charts, page = (files.joinpath(name).read_text() for name in ("page.css", "charts.js", "page.js"))
        self._script = f"{charts}\n{page}"
        self._template = jinja2.Environment(autoescape=True).from_string(files.joinpath("page.html").read_text())

    def page(self, request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        text = self._template.render(nonce=nonce, style=self._style, script=self._script)
        return HTMLResponse(text, headers=HEADERS | {"Content-Security-Policy": PAGE_POLICY.format(nonce=nonce)})

    def state(self, request: Request) -> Response:
        """All runs, and of the one named `run`, or the newest, what its journal has from `offset` on."""
        found = dict(find_runs(self._folder))
        overviews = sorted(
            (self._overviews.of(name, path) for name, path in found.items()), key=lambda run: -(run.started or 0)
        )
        answer: dict[str, Any] = {"runs": [_described(run) for run in overviews]}
        wanted = request.query_params.get("run", "")
        run = next((run for run in overviews if run.name == wanted), overviews[0] if overviews else None)
        if run is not None:
            offset = _number(request, "offset") if run.name == wanted else 0
            answer |= {"run": run.name}
            if run.state != "unreadable":
                answer |= new_records(found[run.name], offset, run.total or 0)
        return JSONResponse(answer, headers=HEADERS)

    def grid(self, request: Request) -> Response:
        """The grid of the run named `run` after `nimg` images."""
        path = dict(find_runs(self._folder)).get(request.query_params.get("run", ""))
        if path is None:
            raise Refusal(404, "there is no such run")
        try:
            data = grid_path(path, _number(request, "nimg")).read_bytes()
        except FileNotFoundError as error:
            raise Refusal(404, "this grid has been deleted") from error
        return Response(data, media_type="image/png", headers=HEADERS)


def _described(run: RunOverview) -> dict[str, Any]:
    """An overview as JSON, with durations and sizes as text."""
    left = duration(run.eta_s) if run.eta_s is not None else ""
    fields = {name: value for name, value in dataclasses.asdict(run).items() if name != "path"}
    return fields | {"left": left, "size": size(run.bytes)}


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 17 and int(text) < LARGEST_OFFSET):
        raise Refusal(422, f"{name}: give a number, 0 or more")
    return int(text)


async def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    text = f"{error.filename or 'the folder of runs'} cannot be read: {error.strerror or error}"
    return JSONResponse({"error": text}, 503, HEADERS)


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return unknown(error, request, "/, /state and /grid")
