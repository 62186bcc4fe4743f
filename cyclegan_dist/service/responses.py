"""What HTTP applications of this project share: headers of every answer, answers to errors, refusal of other sites."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cyclegan_dist.service.messages import Refusal
from cyclegan_dist.service.origins import AllowedHosts, refuse_other_sites

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CLIENT_GONE = 499  # has closed the connection; a code of nginx, for the count of answers
PAGE_POLICY = (
    "default-src 'none'; img-src blob: data:; connect-src 'self'; "
    "style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class SameOrigin:
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
                app = await refused(request, refusal)
        await app(scope, receive, send)


class NoBody:
    """Middleware that refuses requests with a body, of which a server would read any length: 413."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            request = Request(scope)
            if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
                app = await refused(request, Refusal(413, "send no body: everything is in the address"))
        await app(scope, receive, send)


async def refused(request: Request, error: Exception) -> Response:
    """The answer to a Refusal: JSON with the key `error`."""
    assert isinstance(error, Refusal)
    headers = dict(HEADERS)
    if error.status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not read
    if error.status in (429, 503):
        headers["Retry-After"] = str(error.retry_after)
    if error.challenge:
        headers["WWW-Authenticate"] = error.challenge
    return JSONResponse({"error": error.sentence}, error.status, headers)


def unknown(error: HTTPException, request: Request, pages: str) -> Response:
    """The answer to a request for a page or a method that does not exist; `pages` lists those that do."""
    headers = dict(error.headers or {})
    sentence = {
        404: f"no such page: there are {pages}",
        405: f"{request.method} is not for this page: use {headers.get('Allow', 'another method')}",
    }.get(error.status_code, error.detail)
    return JSONResponse({"error": sentence}, error.status_code, HEADERS | headers)


async def failed(request: Request, error: Exception) -> Response:
    """The answer to a request on which the application failed. Starlette raises the error again: the server logs it."""
    return JSONResponse({"error": "the service failed on this request; the reason is in its log"}, 500, HEADERS)
