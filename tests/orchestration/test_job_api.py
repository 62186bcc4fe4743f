import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.job_api import ask_job_api, job_api_url, refuse_open_job_api


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "CYCLEGAN_DIST_INSECURE_CLUSTER"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def dashboard(*, without: int, wrong: int) -> Iterator[str]:
    """A server that answers requests for the list of jobs with one status if they have no token, else with another."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            has_token = (self.headers.get("Authorization") or "").startswith("Bearer ")
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


@pytest.mark.parametrize(("without", "wrong"), [(401, 403), (200, 500), (302, 404)])
def test_the_status_depends_on_the_token(without: int, wrong: int) -> None:
    with dashboard(without=without, wrong=wrong) as url:
        assert (ask_job_api(url), ask_job_api(url, "wrong")) == (without, wrong)


def test_a_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with dashboard(without=403, wrong=403) as proxy, dashboard(without=200, wrong=200) as url:
        monkeypatch.setenv("http_proxy", proxy)
        assert ask_job_api(url) == 200


def _answer_nonsense(server: socket.socket) -> None:
    with server.accept()[0] as connection:
        connection.recv(4096)
        connection.sendall(b"nonsense\r\n\r\n")


def test_what_is_not_http_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer_nonsense, args=(server,))
        thread.start()
        with pytest.raises(OSError, match="BadStatusLine"):
            ask_job_api(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    with pytest.raises(OSError, match="not the http address"):
        ask_job_api("file:///etc/passwd")


def test_the_url_of_the_job_api(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (job_api_url(""), job_api_url("127.0.0.1:8265")) == ("", "http://127.0.0.1:8265")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://head:1")
    assert job_api_url("127.0.0.1:8265") == "https://head:1"


def test_training_on_an_open_cluster_is_refused_unless_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with dashboard(without=200, wrong=200) as url:
        with pytest.raises(UsageError, match="CYCLEGAN_DIST_INSECURE_CLUSTER=1") as refused:
            refuse_open_job_api(url.removeprefix("http://"))
        assert "\n" not in str(refused.value)
        monkeypatch.setenv("CYCLEGAN_DIST_INSECURE_CLUSTER", "0")
        with pytest.raises(UsageError):
            refuse_open_job_api(url)
        monkeypatch.setenv("CYCLEGAN_DIST_INSECURE_CLUSTER", "1")
        refuse_open_job_api(url)


def test_training_on_any_other_cluster_is_allowed() -> None:
    with dashboard(without=401, wrong=403) as url:
        refuse_open_job_api(url)
    refuse_open_job_api(closed())
    refuse_open_job_api("")
