import contextlib
import time
from pathlib import Path

import pytest

from tests.faults.serving_process import UPLOAD, half_sent, still_open
from tests.service.running import picture, post, running

HALF = "POST /translate HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
WHOLE = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def connection_limits(monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(f"cyclegan_dist.service.connections.{name}", value)


@pytest.mark.parametrize("text", ["", HALF, WHOLE + HALF])
def test_headers_must_arrive_in_time(snapshot: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    connection_limits(monkeypatch, HEADER_SECONDS=1)
    with running(snapshot) as url, half_sent(url, text, 20) as clients:
        for client in clients if text.startswith(WHOLE) else []:
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        for _ in range(3):
            time.sleep(0.2)
            for client in clients if text else []:
                client.sendall(b"x")  # more of the header does not extend the time
        assert all(map(still_open, clients))
        time.sleep(0.8)
        assert not any(map(still_open, clients))


def test_connections_that_wait_make_room_for_new_ones(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection_limits(monkeypatch, MAX_CONNECTIONS_PER_CLIENT=5)
    with running(snapshot) as url, half_sent(url, HALF, 12) as clients:
        assert post(f"{url}translate", data=picture()).status_code == 200
        open_ones = [still_open(client) for client in clients]
        assert sum(open_ones) in (4, 5) and not any(open_ones[:7])


def test_a_connection_is_refused_if_all_are_busy(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection_limits(monkeypatch, MAX_CONNECTIONS=3)
    with running(snapshot) as url, half_sent(url, UPLOAD.format(1000), 3):
        time.sleep(0.3)
        answer = post(f"{url}translate", data=picture())
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
        assert "too many connections" in answer.json()["error"]


def test_a_client_that_does_not_take_its_answers_is_cut_off(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection_limits(monkeypatch, WRITE_SECONDS=1)
    with running(snapshot) as url, half_sent(url, WHOLE.replace("health", "") * 2000, 1) as (client,):
        time.sleep(3)
        received = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while part := client.recv(1 << 20):
                received += part
    assert 0 < received.count(b"HTTP/1.1 200") < 1900  # what the kernel's buffers hold
