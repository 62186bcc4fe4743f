"""What listens on a node, and for whom: sockets of Ray and of MLflow on addresses that other machines reach."""

import ipaddress
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cyclegan_dist.operations.doctor.findings import Finding
from cyclegan_dist.operations.doctor.fleet import Fleet, answered, names_of, once_per_host
from cyclegan_dist.operations.doctor.network import names_here

CHECK = "open ports"
PROGRAMS = {  # by what is in the command line of a process
    "gcs_server": r"/gcs_server( |$)",
    "raylet": r"/raylet/raylet( |$)",
    "dashboard": r"ray/dashboard/dashboard\.py",
    "agent": r"ray/(dashboard/agent|_private/runtime_env/agent/main)\.py",
    "client server": r"ray\.util\.client\.server",
    "worker": r"^ray::|ray/_private/workers/",
    "mlflow": r"mlflow\.server|mlflow (server|ui)( |$)",
}
WORKER = "worker"
MLFLOW, WITH_LOGIN = "mlflow", "basic-auth"
LISTENING = "0A"
SILENT = "See what keeps the node from answering: ray status, and its logs."


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A socket that waits for connections: whose, where, and whether it asks who is there: for Ray's token, or for
    MLflow's login.
    """

    program: str
    address: str
    port: int
    asks: bool = False


@dataclass(frozen=True, kw_only=True)
class Listeners:
    """Those of one machine that other machines can reach, and whether it has an address of the internet."""

    open: list[Listener]
    is_public: bool


def listeners_here(proc: str = "/proc") -> Listeners:
    """Look through /proc, as `ss -ltnp` does; processes of other users show to root alone."""
    sockets = {inode: (address, port) for inode, address, port in _listening(Path(proc, "net"))}
    found = []
    for pid in filter(str.isdigit, os.listdir(proc)):
        try:
            command = Path(proc, pid, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            program = program_of(command)
            inodes = _inodes(Path(proc, pid, "fd")) if program else []
        except OSError:  # it has ended, or is another user's
            continue
        for inode in inodes:
            if inode in sockets and not is_own(sockets[inode][0]):
                address, port = sockets[inode]
                asks = WITH_LOGIN in command if program == MLFLOW else _asks_for_token(Path(proc, pid))
                found.append(Listener(program=program, address=address, port=port, asks=asks))
    public = [address for address in names_here().interfaces.values() if ipaddress.ip_address(address).is_global]
    return Listeners(open=sorted(set(found), key=lambda one: (one.program, one.port)), is_public=bool(public))


def program_of(command: str) -> str:
    """Which of `PROGRAMS` a command line is, or nothing."""
    return next((name for name, pattern in PROGRAMS.items() if re.search(pattern, command)), "")


def is_own(address: str) -> bool:
    """Whether only this machine itself can reach an address."""
    return ipaddress.ip_address(address).is_loopback


def _asks_for_token(process: Path) -> bool:
    try:
        return b"RAY_AUTH_MODE=token" in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _inodes(folder: Path) -> list[str]:
    links = []
    for name in os.listdir(folder):
        try:
            links.append(os.readlink(folder / name))
        except OSError:  # closed meanwhile
            continue
    return [link[len("socket:[") : -1] for link in links if link.startswith("socket:[")]


def _listening(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Inode, address and port of each socket that listens."""
    for name in ("tcp", "tcp6"):
        if not (folder / name).exists():  # a kernel without IPv6
            continue
        for line in (folder / name).read_text().splitlines()[1:]:
            parts = line.split()
            address, _, port = parts[1].partition(":")
            if parts[3] == LISTENING:
                yield parts[9], _address(address), int(port, 16)


def _address(text: str) -> str:
    """An address as the kernel prints it: words of four bytes, each in the machine's order."""
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    return str(getattr(address, "ipv4_mapped", None) or address)


def check_ports(fleet: Fleet, is_guarded: bool) -> list[Finding]:
    """What other machines can reach.

    Args:
        fleet: the nodes.
        is_guarded: whether the cluster is known to ask for a token; else it goes by what each process was started with.
    """
    hosts = once_per_host(fleet)
    answers, findings = answered(CHECK, fleet.ask({name: (listeners_here, ()) for name in hosts}), SILENT)
    for name, listeners in answers.items():
        findings += judge(name, listeners, is_guarded)
    if findings or not answers:
        return findings
    found = "Ray and MLflow listen to this machine alone, or do not run"
    return [Finding(check=CHECK, level="green", found=found)]


def judge(name: str, listeners: Listeners, is_guarded: bool) -> list[Finding]:
    """What is said of the sockets of one host."""
    findings = []
    rays = [one for one in listeners.open if one.program != MLFLOW]
    mlflows = [one for one in listeners.open if one.program == MLFLOW and not one.asks]
    if rays:
        findings.append(_judge_ray(name, rays, is_guarded, listeners.is_public))
    if mlflows:
        found = f"{name}: {_shown(mlflows)}; MLflow without a login lets everybody write and delete runs and models"
        advice = "Start it with --host 127.0.0.1 or --app-name basic-auth, or let only the cluster reach its port."
        findings.append(Finding(check=CHECK, level="yellow", found=found, advice=advice, figures=_figures(mlflows)))
    return findings


def _judge_ray(name: str, rays: list[Listener], is_guarded: bool, is_public: bool) -> Finding:
    found, figures = f"{name}: {_shown(rays)}", _figures(rays)
    started = [one.asks for one in rays if one.program != WORKER]  # workers write their titles over their environment
    if not is_guarded and not (started and all(started)):
        found += "; no token is asked for: whoever reaches them runs commands here"
        advice = "Start every node with RAY_AUTH_MODE=token, and let only the cluster reach its ports."
        return Finding(check=CHECK, level="red", found=found, advice=advice, figures=figures)
    if is_public:
        found += "; a token is asked for, but the machine has an address of the internet"
        advice = "Let a firewall pass these ports from the cluster alone."
        return Finding(check=CHECK, level="yellow", found=found, advice=advice, figures=figures)
    return Finding(check=CHECK, level="green", found=f"{found}; a token is asked for", figures=figures)


def _shown(listeners: list[Listener]) -> str:
    ports: dict[str, list[str]] = {}
    for one in listeners:
        ports.setdefault(one.program, []).append(str(one.port))
    where = names_of(dict.fromkeys(one.address for one in listeners), most=2)
    return f"{names_of((f'{p} {names_of(dict.fromkeys(n), 2)}' for p, n in ports.items()), most=6)} on {where}"


def _figures(listeners: list[Listener]) -> dict[str, list[dict[str, object]]]:
    return {"listeners": [asdict(one) for one in listeners]}
