"""Servers for tests, on this machine's own address."""

import functools
import http.server
import itertools
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """Files, and parts of them where `Range` asks for one, which Python's own handler does not do."""

    def __init__(self, *args: Any, fails: Iterator[bool], delay_s: float, **kwargs: Any):
        self._fails, self._delay_s = fails, delay_s
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        time.sleep(self._delay_s)
        if next(self._fails):
            return self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = self.translate_path(self.path)
        if not asked or not os.path.isfile(path):
            return super().do_GET()
        first, last = int(asked[1]), int(asked[2])
        with open(path, "rb") as file:
            file.seek(first)
            part = file.read(last - first + 1)
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{os.path.getsize(path)}")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def http_server(folder: Path, *, fails_every: int = 0, delay_s: float = 0) -> Iterator[str]:
    """`folder` behind a URL while the block lasts; every so many GETs are answered by an error, all after a delay."""
    fails = (bool(fails_every) and number % fails_every == 0 for number in itertools.count(1))
    handler = functools.partial(_Ranges, directory=str(folder), fails=fails, delay_s=delay_s)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()  # seconds until it stops
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
