"""The HTTP server of the service, in this process."""

import ipaddress
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from cyclegan_dist.errors import UsageError
from cyclegan_dist.service.connections import LimitedConnection
from cyclegan_dist.service.places import STOP_SECONDS

_SEND_SECONDS = 3  # for the last answers to be sent


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port` (0: one that is free).

    Raises:
        UsageError: if it cannot.
    """
    try:
        if not 0 <= port <= 65535:
            raise ValueError("no such port")
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((address[0], port), family=family)
    except (OSError, ValueError) as error:  # UnicodeError among them, of names that no host can have
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]  # it repeats the address
        raise UsageError(f"cannot listen on {host}, port {port}: {reason}; choose another --port or --host") from error


def address(listener: socket.socket, scheme: str = "http") -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can reach a listening socket."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


class _Server(uvicorn.Server):
    """Stops the application before it waits for the answers, so that all requests get one."""

    def __init__(self, app: Starlette, config: uvicorn.Config):
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        getattr(self._app.state, "stop", lambda: None)()  # other applications than the service lack it
        await super().shutdown(sockets)


@contextmanager
def answering(
    app: Starlette, listener: socket.socket, *, root_path: str = "", tls: tuple[Path, Path] | None = None
) -> Iterator[uvicorn.Server]:
    """Answer requests in a thread while the block lasts. Requests that wait at its end are answered within
    `STOP_SECONDS`, with 503 if there is no other answer by then.

    Args:
        app: that answers.
        listener: a listening socket.
        root_path: prefix of the paths that clients see, which a proxy removes: `/prefix`.
        tls: files of the certificate and of its key, which have been checked; None: HTTP without encryption.
    """
    cert, key = tls or (None, None)
    server = _Server(
        app,
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            http=LimitedConnection,
            ws="none",
            proxy_headers=False,  # any program on this machine could claim another address; `Access` names proxies
            root_path=root_path,
            ssl_certfile=cert,
            ssl_keyfile=key,
            timeout_graceful_shutdown=STOP_SECONDS + _SEND_SECONDS,
        ),
    )

    def run() -> None:
        try:
            server.run(sockets=[listener])
        finally:
            server.should_exit = True

    # Not the main thread: there uvicorn would handle signals, and raise them again at the end.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join()


def run_until_signal(
    app: Starlette,
    listener: socket.socket,
    announcement: str,
    *,
    root_path: str = "",
    tls: tuple[Path, Path] | None = None,
) -> None:
    """Print the announcement and answer, as `answering`, until SIGINT or SIGTERM. A second signal ends it at once."""
    with answering(app, listener, root_path=root_path, tls=tls) as server:

        def stop(number: int, frame: FrameType | None) -> None:
            server.force_exit = server.should_exit
            server.should_exit = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            print(announcement, flush=True)
            while not server.should_exit:
                time.sleep(0.2)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
