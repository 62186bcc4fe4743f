"""The description of the service: OpenAPI for programs, and the same as a page."""

import secrets
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from cyclegan_dist.pages.template import page_template
from cyclegan_dist.service.messages import Limits, ServedModel
from cyclegan_dist.service.openapi import openapi
from cyclegan_dist.service.responses import HEADERS, PAGE_POLICY


class Description:
    """Of one service.

    Args:
        title: what is served.
        model: gives what is served now, whose directions are described.
        limits: of requests.
        locked: whether a token is needed.
    """

    def __init__(self, title: str, model: Callable[[], ServedModel], limits: Limits, *, locked: bool = False):
        self._title, self._model, self._limits, self._locked = title, model, limits, locked
        self._template = page_template("service/docs.html")

    def _document(self, request: Request) -> dict[str, Any]:
        root, directions = request.scope.get("root_path", ""), self._model().snapshot.directions
        return openapi(self._title, directions, self._limits, locked=self._locked, root_path=root)

    async def document(self, request: Request) -> Response:
        """The document, as JSON."""
        return JSONResponse(self._document(request), headers=HEADERS)

    async def page(self, request: Request) -> Response:
        """The document, as HTML without scripts."""
        nonce = secrets.token_urlsafe(16)
        directions = self._model().snapshot.directions
        text = self._template.render(
            document=self._document(request),
            directions=directions,
            url=request.base_url,
            locked=self._locked,
            nonce=nonce,
        )
        return HTMLResponse(text, headers=HEADERS | {"Content-Security-Policy": PAGE_POLICY.format(nonce=nonce)})
