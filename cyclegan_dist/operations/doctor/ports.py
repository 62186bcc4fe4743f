"""Ports of Ray and MLflow that other machines can reach."""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cyclegan_dist.operations.doctor.nodes import listed
from cyclegan_dist.operations.doctor.report import Report

WORKER, MLFLOW = "worker", "mlflow"
PROGRAMS = {  # by a pattern of the command line
    "gcs_server": r"/gcs_server( |$)",
    "raylet": r"/raylet/raylet( |$)",
    "dashboard": r"ray/dashboard/dashboard\.py",
    "agent": r"ray/(dashboard/agent|_private/runtime_env/agent/main)\.py",
    "client server": r"ray\.util\.client\.server",
    WORKER: r"^ray::|ray/_private/workers/",
    MLFLOW: r"mlflow\.server|mlflow (server|ui)( |$)",
}
LISTENING = "0A"  # state of a socket in /proc/net/tcp


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A listening socket, and whether its program was started with authentication: Ray's token or MLflow's login."""

    program: str
    address: str
    port: int
    authenticates: bool = False


def listeners_here(proc: str = "/proc") -> list[Listener]:
    """Sockets of `PROGRAMS` that other machines can reach, as `ss -ltnp` finds them; only root sees other users'."""
    sockets = {inode: (address, port) for inode, address, port in _listening(Path(proc, "net"))}
    found = set()
    for process in (Path(proc, pid) for pid in os.listdir(proc) if pid.isdigit()):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            program = program_of(command)
            inodes = _socket_inodes(process / "fd") if program else []
            token = bool(inodes) and b"RAY_AUTH_MODE=token" in (process / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or belongs to another user
            continue
        for address, port in (sockets[inode] for inode in inodes if inode in sockets):
            if not ipaddress.ip_address(address).is_loopback:
                authenticates = "basic-auth" in command if program == MLFLOW else token
                found.add(Listener(program=program, address=address, port=port, authenticates=authenticates))
    return sorted(found, key=lambda listener: (listener.program, listener.port))


def program_of(command: str) -> str:
    """Which of `PROGRAMS` a command line starts; empty if none."""
    return next((name for name, pattern in PROGRAMS.items() if re.search(pattern, command)), "")


def _socket_inodes(folder: Path) -> list[str]:
    links = []
    for file in folder.iterdir():
        with suppress(OSError):  # closed meanwhile
            links.append(os.readlink(file))
    return [link[len("socket:[") : -1] for link in links if link.startswith("socket:[")]


def _listening(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Inode, address and port of each listening socket."""
    tables = [folder / name for name in ("tcp", "tcp6") if (folder / name).exists()]  # there may be no IPv6
    for line in (line for table in tables for line in table.read_text().splitlines()[1:]):
        _, local, _, state, *_, inode = line.split()[:10]
        address, _, port = local.partition(":")
        if state == LISTENING:
            # The kernel prints words of four bytes, each in the machine's order.
            words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
            ip = ipaddress.ip_address(b"".join(words))
            yield inode, str(getattr(ip, "ipv4_mapped", None) or ip), int(port, 16)


def check_ports(report: Report, nodes: Mapping[str, Sequence[Listener]]) -> None:
    """Check that ports that other machines can reach require Ray's token or MLflow's login."""
    for name, listeners in nodes.items():
        if ray := [listener for listener in listeners if listener.program != MLFLOW]:
            # Ray's workers overwrite their environment with their title.
            started = [listener.authenticates for listener in ray if listener.program != WORKER]
            found, figures = f"{name}: {_shown(ray)}", {"listeners": [asdict(listener) for listener in ray]}
            if started and all(started):
                report.add("green", f"{found}; a token is required", figures=figures)
            else:
                found += "; no token is required: anyone who can reach them can run commands here"
                advice = "Start every node with RAY_AUTH_MODE=token, and let only the cluster reach its ports."
                report.add("red", found, advice, figures)
        if mlflow := [one for one in listeners if one.program == MLFLOW and not one.authenticates]:
            found = f"{name}: {_shown(mlflow)}; without a login anyone can write and delete runs and models"
            advice = "Start it with --host 127.0.0.1 or --app-name basic-auth, or let only the cluster reach its port."
            report.add("yellow", found, advice, {"listeners": [asdict(listener) for listener in mlflow]})
    report.ok("Ray and MLflow are not running, or only this machine can reach them")


def _shown(listeners: Sequence[Listener]) -> str:
    ports: dict[str, list[str]] = {}
    for one in listeners:
        ports.setdefault(one.program, []).append(str(one.port))
    programs = (f"{program} {listed(dict.fromkeys(numbers), 2)}" for program, numbers in ports.items())
    return f"{listed(programs, 6)} on {listed(dict.fromkeys(one.address for one in listeners), 2)}"
