"""A real `mlflow server` for drills, and a tap before it that can be closed, slow, rude or silent.

Run as a module this file is the tap: a process of its own, so that a training that is timed shares nothing with it. It
takes a mode a line on standard input and ends with that:

| mode | every call |
|---|---|
| pass | reaches the server |
| closed | is refused: nobody listens |
| slow S | reaches the server after S seconds |
| status N | is answered with N |
| hang | is never answered |
| forget PART | reaches the server; its answer does not come back if PART is in the path |
"""

import atexit
import functools
import json
import os
import signal
import socket
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

START_S = 120.0


class MlflowServer:
    """`mlflow server` on this machine, over an empty SQLite file in `folder`."""

    def __init__(self, folder: Path):
        self.port = _free_port()
        command = [str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--workers", "1"]
        command += ["--port", str(self.port), "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
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
        """End it and the processes it has started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def call(self, path: str, **body: Any) -> dict[str, Any]:
        """An answer of its REST interface; with a body it is a POST."""
        url = f"http://127.0.0.1:{self.port}/api/2.0/mlflow/{path}"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


class Tap:
    """Where clients find the server, as long as it is open."""

    def __init__(self, upstream: int):
        self.port = _free_port()
        command = [sys.executable, "-m", "tests.faults.mlflow_server", str(self.port), str(upstream)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes)
        atexit.register(self._process.kill)
        self.uri = f"http://127.0.0.1:{self.port}"
        self.turn("pass")

    def turn(self, mode: str) -> int:
        """Change the mode. Returns how many calls there have been."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(mode + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@functools.cache
def server_and_tap() -> tuple[MlflowServer, Tap]:
    """One server, shared by all drills of this process, and ended with it."""
    folder = tempfile.TemporaryDirectory(prefix="mlflow")
    atexit.register(folder.cleanup)  # after the server's own end: what was registered last is called first
    server = MlflowServer(Path(folder.name))
    return server, Tap(server.port)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    mode, calls, upstream = ["closed"], 0, 0

    def pass_on(self) -> None:
        """Answer one call as the mode wants it."""
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
