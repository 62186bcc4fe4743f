"""Authentication of requests by bearer tokens (RFC 6750), and the rate that each token allows."""

import hmac
import math
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.service.messages import Refusal
from cyclegan_dist.service.tokens import Token, hashed, read_tokens

LOOK_S = 1.0  # between two looks whether the file has changed
_REALM = 'Bearer realm="cyclegan_dist"'
_MINUTE_S = 60.0


class Authentication:
    """The tokens of a file, which is read again when it has changed. Its methods are called in one thread.

    Args:
        path: of the file.
        report: called with a line when the file cannot be read any more, and when it can again.
        now: the time in seconds since 1970.
        clock: of intervals, in seconds.

    Raises:
        UsageError: if the file cannot be read, or has no token.
    """

    def __init__(
        self,
        path: Path,
        report: Callable[[str], object],
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._path, self._report, self._now, self._clock = path, report, now, clock
        self._sent: dict[str, deque[float]] = {}  # when the requests of the last minute arrived, by hash
        self._looked, self._failure = clock(), ""
        self._state = self._stat()
        self._tokens = read_tokens(path)
        if not self._tokens:
            raise UsageError(f"{path} has no token: add one with {pipeline_command('tokens')} create {path} NAME")

    def check(self, header: str) -> Token:
        """The token of an Authorization header, whether or not it has expired.

        Raises:
            Refusal: 401 if there is none or it is unknown, 503 if the file cannot be read.
        """
        self._look()
        if self._failure:
            raise Refusal(503, "the tokens of this service cannot be read: its log has the reason", retry_after=5)
        scheme, _, secret = header.strip().partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            sentence = "this needs a token: send it in the header Authorization: Bearer TOKEN"
            raise Refusal(401, sentence, challenge=_REALM)
        given, found = hashed(secret.strip()), None
        for token in self._tokens:  # all of them, so that the time tells nothing
            if hmac.compare_digest(token.sha256, given):
                found = token
        if found is None:
            raise _invalid("this token is unknown, or has been revoked")
        return found

    def admit(self, token: Token) -> None:
        """Count a request of a token.

        Raises:
            Refusal: 401 if the token has expired, 429 if it has sent all it may in the last minute.
        """
        if token.expires and token.is_expired(self._now()):
            raise _invalid(f"this token expired on {token.expires:%Y-%m-%d at %H:%M} UTC")
        if token.per_minute is None:
            return
        now, sent = self._clock(), self._sent.setdefault(token.sha256, deque())
        while sent and now - sent[0] >= _MINUTE_S:
            sent.popleft()
        if len(sent) >= token.per_minute:
            wait = math.ceil(sent[-token.per_minute] + _MINUTE_S - now)
            sentence = f"this token may send {token.per_minute} requests a minute: try again in {wait} seconds"
            raise Refusal(429, sentence, retry_after=max(1, wait))
        sent.append(now)

    def _look(self) -> None:
        if self._clock() - self._looked < LOOK_S:
            return
        self._looked, state = self._clock(), self._stat()
        if state == self._state and not self._failure:
            return
        try:
            tokens = read_tokens(self._path)
        except UsageError as error:
            if str(error) != self._failure:
                self._report(f"{error}; until then requests that need a token are refused")
            self._failure, self._state = str(error), state
            return
        if self._failure:
            self._report(f"{self._path} can be read again")
        known = {token.sha256 for token in tokens}
        self._sent = {sha256: sent for sha256, sent in self._sent.items() if sha256 in known}
        self._tokens, self._state, self._failure = tokens, state, ""

    def _stat(self) -> tuple[int, ...]:
        """What changes with the file; a file that is not there has a state, too."""
        try:
            found = os.stat(self._path)
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode


class Authenticated:
    """Middleware that lets requests with a token pass. The name of the token is `state["token"]` of the request."""

    def __init__(self, app: ASGIApp, authentication: Authentication):
        self._app, self._authentication = app, authentication

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        token = self._authentication.check(request.headers.get("authorization", ""))
        request.state.token = token.name
        self._authentication.admit(token)
        await self._app(scope, receive, send)


def _invalid(what: str) -> Refusal:
    challenge = f'{_REALM}, error="invalid_token", error_description="{what}"'
    return Refusal(401, f"{what}: ask for another one", challenge=challenge)
