"""`pipelines.serve` in a process of its own, and clients that misbehave."""

import io
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import requests
from PIL import Image

from tests.faults.matrix import Stage
from tests.faults.ray_heads import end, process_tree, wait_until
from tests.service.running import make_snapshot

START_S = 180.0
REFUSED = "503 with Retry-After"
UPLOAD = "POST /translate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n"


@dataclass(frozen=True)
class Service:
    """A running `pipelines.serve`.

    Attributes:
        url: its address.
        process: that was started.
        started_s: seconds until it could be used.
    """

    url: str
    process: "subprocess.Popen[bytes]"
    started_s: float

    def megabytes(self) -> tuple[float, float]:
        """Resident memory of the process that was started, and of its replica."""
        members = process_tree(self.process.pid)
        (replica,) = (one for one in members if "ServeReplica" in " ".join(one.cmdline()))
        return tuple(psutil.Process(pid).memory_info().rss / 1e6 for pid in (self.process.pid, replica.pid))  # type: ignore[return-value]

    def post(self, data: bytes) -> requests.Response:
        """The response to an image."""
        return requests.post(f"{self.url}translate", data=data, timeout=300)

    def posts(self, data: bytes, count: int, at_once: int) -> list[str]:
        """The outcomes of `count` images: 200, 503 with Retry-After, or a description of another one."""

        def outcome() -> str:
            try:
                answer = self.post(data)
            except requests.RequestException as error:
                return repr(error)[:150]
            if answer.status_code == 503 and "Retry-After" in answer.headers:
                return REFUSED
            return "200" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:150]}"

        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda _: outcome(), range(count)))


@contextmanager
def serving(stage: Stage, *options: str) -> Iterator[Service]:
    """The service of a tiny model while the block lasts."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_A")}
    command = [
        sys.executable,
        "-m",
        "pipelines.serve",
        str(make_snapshot(stage.folder / "tiny")),
        "--port",
        "0",
        *options,
    ]
    log, began = stage.folder / "serve.log", time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: "serving " in log.read_text() or process.poll() is not None, START_S)
        found = re.search(r"serving \S+ at (http\S+)", log.read_text())
        assert found, log.read_text()
        yield Service(found[1], process, time.monotonic() - began)
    finally:
        end(process)


@contextmanager
def half_sent(url: str, text: str, count: int) -> Iterator[list[socket.socket]]:
    """Connections of one client that have sent `text` and send no more."""
    place = urlsplit(url)
    with ExitStack() as stack:
        clients: list[socket.socket] = []
        for _ in range(count):
            clients.append(stack.enter_context(socket.create_connection((place.hostname, place.port), timeout=20)))
            clients[-1].sendall(text.encode())
        yield clients


def still_open(client: socket.socket) -> bool:
    """Whether the server has neither answered nor closed a connection."""
    client.setblocking(False)
    try:
        client.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def status_from(source: str, url: str, data: bytes) -> int:
    """The status of an upload from another address of this machine."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=60, source_address=(source, 0)) as client:
        client.sendall(UPLOAD.format(len(data)).encode() + data)
        return int(client.recv(1 << 16).split()[1])


def black(width: int, height: int) -> bytes:
    """A PNG file that is small for its size."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()
