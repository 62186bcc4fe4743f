import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cyclegan_dist.operations.doctor.ports import Listener, check_ports, listeners_here, program_of
from tests.operations.doctor.fleets import findings, levels

LISTEN = """
import socket, sys
server = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
server.bind((sys.argv[1], 0))
server.listen()
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
RAYLET = Listener(program="raylet", address="0.0.0.0", port=6379)
GUARDED = dataclasses.replace(RAYLET, authenticates=True)
WORKER = dataclasses.replace(RAYLET, program="worker")
MLFLOW = dataclasses.replace(RAYLET, program="mlflow")


@contextmanager
def listening(title: str, address: str, *arguments: str, **environment: str) -> Iterator[int]:
    """The port of a process of that title that listens."""
    command = [title, "-I", "-c", LISTEN, address, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, executable=sys.executable, env=environment, **pipes) as process:  # pyright: ignore
        assert process.stdout is not None and process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def found_at(port: int) -> list[Listener]:
    return [one for one in listeners_here() if one.port == port]


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_an_open_socket_of_ray_is_found(address: str) -> None:
    with listening("/opt/ray/core/src/ray/raylet/raylet", address) as port:
        assert found_at(port) == [Listener(program="raylet", address=address, port=port)]
    assert found_at(port) == []


@pytest.mark.parametrize(
    ("title", "address"), [("/x/raylet/raylet", "127.0.0.1"), ("/x/raylet/raylet", "::1"), ("nginx", "0.0.0.0")]
)
def test_local_sockets_and_those_of_other_programs_are_not(title: str, address: str) -> None:
    with listening(title, address) as port:
        assert found_at(port) == []


def test_authentication_is_seen() -> None:
    with listening("/x/raylet/raylet", "0.0.0.0", RAY_AUTH_MODE="token") as port:
        assert found_at(port)[0].authenticates
    with listening("/x/mlflow server", "0.0.0.0", "--app-name", "basic-auth") as port:
        assert found_at(port)[0] == Listener(program="mlflow", address="0.0.0.0", port=port, authenticates=True)
    with listening("/x/mlflow server", "0.0.0.0", RAY_AUTH_MODE="token") as port:
        assert not found_at(port)[0].authenticates


def test_only_listening_sockets_are_found(tmp_path: Path) -> None:
    """A process with two sockets at 10.0.0.1, the first of which is connected."""
    row = "{}: 0100000A:{:04X} 00000000:0000 {} 00000000:00000000 00:00000000 00000000 0 0 {}"
    for folder in ("net", "7/fd"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "net" / "tcp").write_text(f"header\n{row.format(0, 1, '01', 11)}\n{row.format(1, 2, '0A', 12)}\n")
    (tmp_path / "7" / "cmdline").write_text("/x/raylet/raylet\0")
    (tmp_path / "7" / "environ").touch()
    for inode in (11, 12):
        (tmp_path / "7" / "fd" / str(inode)).symlink_to(f"socket:[{inode}]")
    assert listeners_here(str(tmp_path)) == [Listener(program="raylet", address="10.0.0.1", port=2)]


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("/v/ray/core/src/ray/gcs/gcs_server --log_dir=/x", "gcs_server"),
        ("/v/bin/python -u /v/ray/dashboard/dashboard.py --host=127.0.0.1", "dashboard"),
        ("/v/bin/python -u /v/ray/dashboard/agent.py --node-ip-address=1", "agent"),
        ("ray::_Process.run", "worker"),
        ("/v/bin/python -m uvicorn --host 0.0.0.0 mlflow.server.fastapi_app:app", "mlflow"),
        ("/v/bin/python /v/bin/mlflow ui --port 5000", "mlflow"),
        ("vim ray.py", ""),
    ],
)
def test_programs_are_recognized_by_their_command_lines(command: str, program: str) -> None:
    assert program_of(command) == program


@pytest.mark.parametrize(
    ("listeners", "expected"),
    [
        ([], ["green"]),
        ([RAYLET], ["red"]),
        ([GUARDED], ["green"]),
        ([GUARDED, WORKER], ["green"]),
        ([GUARDED, RAYLET], ["red"]),
        ([WORKER], ["red"]),
        ([MLFLOW], ["yellow"]),
        ([dataclasses.replace(MLFLOW, authenticates=True)], ["green"]),
        ([RAYLET, MLFLOW], ["red", "yellow"]),
    ],
)
def test_open_ports(listeners: list[Listener], expected: list[str]) -> None:
    assert levels(check_ports, {"a": listeners}) == expected


def test_open_ports_are_named() -> None:
    found, _ = findings(check_ports, {"a": [RAYLET], "b": [GUARDED]})
    assert found.found.startswith("a: raylet 6379 on 0.0.0.0; no token is required") and found.advice
    assert found.figures["listeners"] == [dataclasses.asdict(RAYLET)]
