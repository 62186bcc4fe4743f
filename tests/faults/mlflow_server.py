"""A real `mlflow server` for drills, and a proxy in front of it that injects faults.

This file is also the proxy's module: it runs in a separate process, so that it does not slow down a training that is
timed. The proxy reads one mode per line from standard input, and exits at its end:

| mode | every request |
|---|---|
| pass | reaches the server |
| closed | is refused: the port is closed |
| slow S | reaches the server after S seconds |
| status N | is answered with status N |
| hang | is never answered |
| forget PART | reaches the server; the response is dropped if PART is in the path |
"""

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.faults.ray_heads import free_port

START_S = 120.0


class MlflowServer:
    """`mlflow server` on this machine, with an SQLite database in `folder`, at `database`; on `port`, or a free one."""

    def __init__(self, folder: Path, port: int = 0):
        self.port, self.database = port or free_port(), f"sqlite:///{folder}/mlflow.db"
        command = [str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--workers", "1"]
        command += ["--port", str(self.port), "--backend-store-uri", self.database]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, process_group=0)
        atexit.register(self.stop)
        self._wait(folder / "log")

    def _wait(self, log: Path) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError(f"mlflow server did not start: {log.read_text()[-500:]}")

    def stop(self) -> None:
        """Kill the server and its child processes."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def call(self, path: str, **body: Any) -> dict[str, Any]:
        """Call the REST API, with POST if there is a body, and return the response."""
        url = f"http://127.0.0.1:{self.port}/api/2.0/mlflow/{path}"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


class FaultyProxy:
    """A proxy process that injects faults into requests to the server."""

    def __init__(self, upstream: int):
        self.port = free_port()
        command = [sys.executable, "-m", "tests.faults.mlflow_server", str(self.port), str(upstream)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes)
        atexit.register(self._process.kill)
        self.uri = f"http://127.0.0.1:{self.port}"
        self.set_mode("pass")

    def set_mode(self, mode: str) -> int:
        """Change the mode. Returns the number of requests so far."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(mode + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@functools.cache
def server_and_proxy() -> tuple[MlflowServer, FaultyProxy]:
    """One server and proxy, shared by all drills of this process."""
    folder = tempfile.TemporaryDirectory(prefix="mlflow")
    atexit.register(folder.cleanup)  # registered before the server's stop, and therefore called after it
    server = MlflowServer(Path(folder.name))
    return server, FaultyProxy(server.port)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    mode, calls, upstream = ["closed"], 0, 0

    def pass_on(self) -> None:
        """Answer one request according to the mode."""
        _Handler.calls += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        mode = self.mode
        if mode[0] == "forget" and mode[1] not in self.path:
            mode = ["pass"]
        if mode[0] == "status":
            self._answer(int(mode[1]), {}, b"{}")
        elif mode[0] == "slow":
            time.sleep(float(mode[1]))
            self._answer(*self._ask(body))
        elif mode[0] == "pass":
            self._answer(*self._ask(body))
        else:
            while mode[0] == "hang" and self.mode == mode:
                time.sleep(0.05)
            if mode[0] == "forget":
                self._ask(body)
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815 - the names are http.server's

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, HTTPException):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _main(port: int, upstream: int) -> None:
    _Handler.upstream = upstream
    listening: ThreadingHTTPServer | None = None
    for line in sys.stdin:
        _Handler.mode = line.split()
        if line.startswith("closed") and listening is not None:
            listening.shutdown()
            listening.server_close()
            listening = None
        elif listening is None and not line.startswith("closed"):
            ThreadingHTTPServer.daemon_threads = True
            listening = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
            threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
        print(_Handler.calls, flush=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
