import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cyclegan_dist.operations.doctor.ports import (
    Listener,
    Listeners,
    check_ports,
    is_own,
    judge,
    listeners_here,
    program_of,
)
from tests.operations.doctor.fleets import Forked, levels

LISTEN = """
import socket, sys
server = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
server.bind((sys.argv[1], 0))
server.listen()
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
RAYLET = Listener(program="raylet", address="0.0.0.0", port=1)
WORKER = dataclasses.replace(RAYLET, program="worker")
MLFLOW = dataclasses.replace(RAYLET, program="mlflow")


@contextmanager
def listener(title: str, address: str, *arguments: str, **environment: str) -> Iterator[int]:
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
    return [one for one in listeners_here().open if one.port == port]


@pytest.mark.parametrize(("address", "shown"), [("0.0.0.0", "0.0.0.0"), ("::", "::")])
def test_an_open_socket_of_ray_is_found(address: str, shown: str) -> None:
    with listener("/opt/ray/core/src/ray/raylet/raylet", address) as port:
        assert found_at(port) == [Listener(program="raylet", address=shown, port=port)]
    assert found_at(port) == []


@pytest.mark.parametrize(
    ("title", "address"), [("/x/raylet/raylet", "127.0.0.1"), ("/x/raylet/raylet", "::1"), ("nginx", "0.0.0.0")]
)
def test_sockets_of_this_machine_alone_and_of_others_are_not(title: str, address: str) -> None:
    with listener(title, address) as port:
        assert found_at(port) == []


def test_whether_a_process_asks_who_is_there_is_seen() -> None:
    with listener("/x/raylet/raylet", "0.0.0.0", RAY_AUTH_MODE="token") as port:
        assert found_at(port)[0].asks
    with listener("/x/mlflow server", "0.0.0.0", "--app-name", "basic-auth") as port:
        assert found_at(port)[0] == Listener(program="mlflow", address="0.0.0.0", port=port, asks=True)
    with listener("/x/mlflow server", "0.0.0.0", RAY_AUTH_MODE="token") as port:
        assert not found_at(port)[0].asks


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
def test_programs_are_told_by_their_command_lines(command: str, program: str) -> None:
    assert program_of(command) == program


def test_addresses_of_this_machine_alone() -> None:
    assert is_own("127.0.0.3") and is_own("::1")
    assert not is_own("0.0.0.0") and not is_own("10.0.0.1") and not is_own("::")


@pytest.mark.parametrize(
    ("sockets", "is_public", "is_guarded", "expected"),
    [
        ([RAYLET], False, False, ["red"]),
        ([RAYLET], False, True, ["green"]),
        ([RAYLET], True, True, ["yellow"]),
        ([dataclasses.replace(RAYLET, asks=True), WORKER], False, False, ["green"]),
        ([dataclasses.replace(RAYLET, asks=True), RAYLET], False, False, ["red"]),
        ([WORKER], False, False, ["red"]),
        ([MLFLOW], False, True, ["yellow"]),
        ([dataclasses.replace(MLFLOW, asks=True)], False, False, []),
        ([RAYLET, MLFLOW], False, False, ["red", "yellow"]),
    ],
)
def test_open_ports_are_judged(sockets: list[Listener], is_public: bool, is_guarded: bool, expected: list[str]) -> None:
    assert levels(judge("a", Listeners(open=sockets, is_public=is_public), is_guarded)) == expected


def test_the_whole_check() -> None:
    """Other clusters may run on this machine meanwhile; ours is among what is found."""
    with listener("/x/raylet/raylet", "0.0.0.0") as port:
        found = [f for f in check_ports(Forked("a", "b"), is_guarded=False) if f.level == "red"]
        assert len(found) == 1  # a and b are one machine
        assert port in [one["port"] for one in found[0].figures["listeners"]]
