import importlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.operations.doctor import job_api
from cyclegan_dist.operations.doctor.job_api import WRONG_TOKEN, api_url, ask, check_job_api, refuse_open_job_api


@contextmanager
def dashboard(*, without: int, wrong: int) -> Iterator[str]:
    """A server that answers /api/jobs/ with one status to who has no token, and with another to who has a wrong one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            has_token = self.headers.get("Authorization") == f"Bearer {WRONG_TOKEN}"
            status = (wrong if has_token else without) if self.path == "/api/jobs/" else 404
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/login")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def closed() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    ("without", "wrong", "level"),
    [
        (401, 403, "green"),
        (403, 401, "green"),
        (200, 200, "red"),
        (200, 403, "red"),
        (401, 200, "red"),
        (404, 404, "yellow"),
        (302, 302, "yellow"),
        (401, 500, "yellow"),
    ],
)
def test_what_the_job_api_answers(without: int, wrong: int, level: str) -> None:
    with dashboard(without=without, wrong=wrong) as url:
        (found,) = check_job_api(url)
    assert found.level == level
    assert found.figures == {"without": without, "wrong_token": wrong}


def test_no_dashboard_is_green_and_a_silent_one_yellow() -> None:
    (found,) = check_job_api("")
    assert found.level == "green"
    (found,) = check_job_api(closed())
    assert found.level == "yellow" and "does not answer" in found.found


def test_a_proxy_does_not_answer_for_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    with dashboard(without=403, wrong=403) as proxy, dashboard(without=200, wrong=200) as url:
        with monkeypatch.context() as environment:
            environment.setenv("http_proxy", proxy)
            importlib.reload(job_api)  # urllib reads it once
            assert job_api.ask(url) == 200
        importlib.reload(job_api)


def _answer_nonsense(server: socket.socket) -> None:
    with server.accept()[0] as connection:
        connection.recv(4096)
        connection.sendall(b"nonsense\r\n\r\n")


def test_what_speaks_no_http_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer_nonsense, args=(server,))
        thread.start()
        with pytest.raises(OSError, match="BadStatusLine"):
            ask(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    with pytest.raises(OSError, match="not the http address"):
        ask("file:///etc/passwd")


def test_where_the_job_api_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert (api_url(""), api_url("127.0.0.1:8265")) == ("", "http://127.0.0.1:8265")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://head:1")
    assert api_url("127.0.0.1:8265") == "https://head:1"


def test_training_on_an_open_cluster_is_refused_unless_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.delenv("CYCLEGAN_DIST_INSECURE_CLUSTER", raising=False)
    with dashboard(without=200, wrong=200) as url:
        with pytest.raises(UsageError, match="CYCLEGAN_DIST_INSECURE_CLUSTER=1") as refused:
            refuse_open_job_api(url.removeprefix("http://"))
        assert "\n" not in str(refused.value)
        monkeypatch.setenv("CYCLEGAN_DIST_INSECURE_CLUSTER", "0")
        with pytest.raises(UsageError):
            refuse_open_job_api(url)
        monkeypatch.setenv("CYCLEGAN_DIST_INSECURE_CLUSTER", "1")
        refuse_open_job_api(url)


def test_training_on_any_other_cluster_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with dashboard(without=401, wrong=403) as url:
        refuse_open_job_api(url)
    refuse_open_job_api(closed())
    refuse_open_job_api("")
