"""The audit log: one line of JSON for each request, without images, queries and tokens."""

import errno
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cyclegan_dist.errors import UsageError
from cyclegan_dist.service.responses import CLIENT_GONE, failed

STDOUT = "-"
# Characters of texts that a client chooses: with all of them escaped, a line stays below 4096 bytes, which a pipe takes
# as one.
_LONGEST, _LONGEST_CLIENT, _LONGEST_METHOD = 200, 64, 32
_AT_ONCE = os.O_NONBLOCK  # a pipe that nobody reads is an error, and does not stop the service


class AuditLog:
    """A file to which lines are appended, each by one write, so that several processes may share it. It is opened for
    each line: where it was renamed, a new one is begun.

    Args:
        place: path of the file, or - for standard output.

    Raises:
        UsageError: if it cannot be written.
    """

    def __init__(self, place: str):
        self._path = None if place == STDOUT else Path(place).absolute()
        self._torn = False  # by a write that did not take the whole line
        try:
            self._append(b"")
        except OSError as error:
            raise UsageError(f"--audit-log {place} cannot be written: {error.strerror}; give another file") from error

    def write(self, record: dict[str, object]) -> None:
        """Append a line. One that cannot be written goes to standard error, with the reason."""
        line = _line_of(record)
        try:
            self._append(b"\n" + line if self._torn else line)
            self._torn = False
        except OSError as error:
            text = line.decode().rstrip("\n")
            print(f"the audit log cannot be written ({error.strerror}): {text}", file=sys.stderr, flush=True)

    def _append(self, data: bytes) -> None:
        if self._path is None:
            _write_whole(1, data)
            return
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | _AT_ONCE, 0o600)
        try:
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
        if written < len(data):
            self._torn = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _line_of(record: dict[str, object]) -> bytes:
    """JSON in which what some programs take for the end of a line, or a terminal for a command, is escaped."""
    text = json.dumps(record, ensure_ascii=False)
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text).encode() + b"\n"


def _write_whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


class Audited:
    """Middleware that writes a line for each request when it has been answered, whatever the answer."""

    def __init__(self, app: ASGIApp, log: AuditLog):
        self._app, self._log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        time_utc, began = datetime.now(UTC), time.perf_counter()
        status, read, sent = CLIENT_GONE, 0, 0

        async def counted_receive() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            await send(message)
            sent += len(message.get("body", b""))

        # Notes of those who handle the request: the name of its token, the model and the direction.
        notes: dict[str, object] = scope.setdefault("state", {})
        try:
            await self._app(scope, counted_receive, counted_send)
        except Exception as error:
            if status == CLIENT_GONE:  # Starlette answers outside of this middleware, where nothing is counted
                answer = await failed(Request(scope), error)
                await answer(scope, counted_receive, counted_send)
            raise
        finally:
            self._log.write(
                {
                    "time": time_utc.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "token": notes.get("token"),
                    "client": scope["client"][0][:_LONGEST_CLIENT] if scope["client"] else None,
                    "method": scope["method"][:_LONGEST_METHOD],
                    "path": scope["path"][:_LONGEST],
                    "model": str(notes["model"])[:_LONGEST] if "model" in notes else None,
                    "direction": notes.get("direction"),
                    "status": status,
                    "ms": round(1e3 * (time.perf_counter() - began), 1),
                    "bytes_in": read,
                    "bytes_out": sent,
                }
            )
