"""HTTP connections with limits on their number and on the time that clients take."""

import asyncio
import itertools
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10  # for the header of a request to arrive
WRITE_SECONDS = 60  # for a client to take more of an answer
CLOSE_SECONDS = 3  # for what was written last to be sent, and for the client's end of TLS
MAX_CONNECTIONS = 512  # below the usual limit of 1,024 open files
MAX_CONNECTIONS_PER_CLIENT = 256  # address
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b'Content-Length: 56\r\n\r\n{"error": "too many connections: try again in a moment"}'
)


class LimitedConnection(H11Protocol):
    """A connection of uvicorn, which has no limit on the time for headers nor on idle connections by itself.

    uvicorn's parser in Python is used because it limits the length of a header.
    """

    _serials = itertools.count()
    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close the connection that has waited longest for a header if there are too many, else refuse this one."""
        super().connection_made(transport)
        self._serial = next(self._serials)  # several can have the same time
        self._start_header_timer()
        others = [cast(LimitedConnection, other) for other in self.connections if other is not self]
        own = [other for other in others if self.client and other.client and other.client[0] == self.client[0]]
        for group, most in ((own, MAX_CONNECTIONS_PER_CLIENT), (others, MAX_CONNECTIONS)):
            if len(group) < most:
                continue
            waiting = [(timer.when(), one._serial, one) for one in group if (timer := one._header_timer)]
            if not waiting:
                transport.write(_BUSY)
                self._close()
                return
            min(waiting)[-1].transport.abort()

    def data_received(self, data: bytes) -> None:
        """As uvicorn, with a limit on the time from a header's first byte to its last."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_header_timer()
        elif self._header_timer is None:
            self._start_header_timer()

    def pause_writing(self) -> None:
        """As uvicorn, with a limit on the time until the client has taken what was sent."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """As uvicorn."""
        super().resume_writing()
        if self._write_timer:
            self._write_timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn."""
        self._stop_header_timer()
        if self._write_timer:
            self._write_timer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """As uvicorn, with a limit on the time until the connection is closed."""
        super().shutdown()
        if self.transport.is_closing():
            self._close()

    def _close(self) -> None:
        self.transport.close()
        if self.scheme == "https":  # where closing waits half a minute for the client to close, too
            self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def _start_header_timer(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._close_soon)

    def _close_soon(self) -> None:
        # After a pause of this process, timers run before data that has arrived meanwhile is read.
        self._header_timer = self.loop.call_later(0.1, self._close)

    def _stop_header_timer(self) -> None:
        if self._header_timer:
            self._header_timer.cancel()
            self._header_timer = None
