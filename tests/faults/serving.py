"""Drill F8: malicious requests to the service."""

import base64
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.faults.decompression_bombs import decompression_bombs
from tests.faults.matrix import Measured, Stage, row
from tests.service.running import LIMITS, make_snapshot, picture, post, running

Answers = list[tuple[str, int]]
MAX_GROWTH_MB = 80  # room for some of the largest accepted bodies at once, and for their decoded images
ENDLESS = 64 << 20


@row(
    "F8",
    "decompression bombs, paths, URLs, batches and endless bodies are sent to the service",
    "refused with a message; nothing is fetched or written; memory stays bounded",
    slow=True,
)
def malicious_requests(stage: Stage) -> Measured:
    snapshot = make_snapshot(stage.folder / "tiny")
    before = set(stage.folder.rglob("*"))
    with _witness() as (witness, fetched), running(snapshot) as url:
        files = _files(witness)  # made before memory is measured, as is the first response
        post(f"{url}translate", data=picture())
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        memory = _megabytes("VmRSS")
        answers = [(name, post(f"{url}translate", data=data).status_code) for name, data in files.items()]
        answers += [*_json(url, witness), *_elsewhere(url)]
        accepted = _endless(url)
        concurrent = _concurrent(url, stage.times(12, 60))
        growth = _megabytes("VmHWM") - memory
        after = post(f"{url}translate", data=picture()).status_code
    bad = [name for name, status in answers if not 400 <= status < 500]
    written = len(set(stage.folder.rglob("*")) - before)
    return Measured(
        f"refused {len(answers) - len(bad)} of {len(answers)} {bad or ''}; URLs fetched {len(fetched)}, files written "
        f"{written}; of an endless body {accepted / 1e6:.0f} MB accepted; of {len(concurrent)} concurrent large bodies "
        f"{concurrent.count(503)} answered with 503, {sum(status not in (413, 422, 503) for status in concurrent)} with an "
        f"unexpected status; peak memory {growth:+.0f} MB; a valid request afterwards: {after}",
        not bad
        and not fetched
        and not written
        and accepted < ENDLESS / 2
        and set(concurrent) <= {413, 422, 503}
        and growth < MAX_GROWTH_MB
        and after == 200,
    )


def _files(witness: str) -> dict[str, bytes]:
    """Bodies instead of an image file."""
    made = decompression_bombs()
    made |= {"path": b"/etc/passwd", "URL": witness.encode(), "file URL": b"file:///etc/passwd"}
    made |= {"SVG": f"<svg xmlns='http://www.w3.org/2000/svg'><image href='{witness}'/></svg>".encode()}
    made |= {"batch": picture() * 1400, "nothing": b""}
    return made


def _json(url: str, witness: str) -> Answers:
    """Responses to JSON bodies."""
    image = base64.b64encode(picture()).decode()
    made: dict[str, object] = {"URL": {"image": witness}, "key url": {"image": image, "url": witness}}
    made |= {"data URL": {"image": f"data:image/png;base64,{image}"}, "path": {"image": image, "path": "/etc/passwd"}}
    made |= {
        "batch": {"image": [image] * 1000},
        "batches": [{"image": image}] * 1000,
        "direction": {"image": image, "direction": "../.."},
    }
    texts = {name: json.dumps(value) for name, value in made.items()} | {
        "deep": "[" * 500_000,
        "long": '{"image": "' + "A" * (2 << 20),
    }
    headers = {"Content-Type": "application/json"}
    return [(f"JSON {n}", post(f"{url}v1/translate", data=t, headers=headers).status_code) for n, t in texts.items()]


def _elsewhere(url: str) -> Answers:
    """Responses to file names, paths, queries and methods."""
    upload = {"file": ("../../../../tmp/evil.png", picture())}
    answers = [("file name", post(f"{url}translate", files=upload).status_code)]
    for path in (
        "%2e%2e/%2e%2e/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "static//etc/passwd",
        "translate/../../card.json",
    ):
        answers.append((path, requests.get(f"{url}{path}", timeout=20).status_code))
    answers.append(("query", post(f"{url}translate?direction=%2e%2e%2f%00", data=picture()).status_code))
    answers += [
        (method, requests.request(method, f"{url}translate", timeout=20).status_code)
        for method in ("PUT", "DELETE", "TRACE")
    ]
    return answers


def _endless(url: str) -> int:
    """Bytes of an endless body that are accepted before the connection is closed."""
    place, sent = urlsplit(url), 0
    with socket.create_connection((place.hostname, place.port), timeout=20) as client:
        client.sendall(b"POST /translate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while sent < ENDLESS:
                client.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
                sent += 1 << 16
        except OSError:
            pass
    return sent


def _concurrent(url: str, count: int) -> list[int]:
    """Statuses of `count` concurrent requests with large bodies."""
    body = bytes(LIMITS.max_bytes)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: post(f"{url}translate", data=body).status_code, range(count)))


@contextmanager
def _witness() -> Iterator[tuple[str, list[str]]]:
    """A URL of this process, and the paths that are fetched from it."""
    fetched: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/image.png", fetched
        server.shutdown()


def _megabytes(key: str) -> float:
    """Memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))
