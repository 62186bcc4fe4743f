"""Simulated machines on a network switch, built from Linux namespaces, each with its own address, host name and processes.

All machines are inside one outer set of namespaces: several networks can use the same addresses, nothing is added to the
host's network or mounts, and everything ends with the process that created it, even if that is killed.
"""

import contextlib
import ctypes
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import psutil

CLONE_NEWNET = 0x40000000  # sched.h
TOOLS = ("ip", "bridge", "tc", "nsenter", "unshare")
NAMESPACES = [
    "unshare",
    "--net",
    "--mount",
    "--pid",
    "--ipc",
    "--uts",
    "--fork",
    "--kill-child=SIGKILL",
    "--mount-proc",
]
# The shell is the first process of the namespaces, which end with it; it exits when its standard input is closed.
START = """set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount --bind "$1" /etc/hosts
ip link set lo up
ip link add switch type bridge
ip link set switch up
echo up
read forever
"""
# A machine that is on: its processes have their own process ids, host name and shared memory. The shell keeps running to
# reap orphans, which Ray's job server would otherwise consider alive until a timeout.
SWITCHED_ON = """hostname "$1"; shift; mount -t tmpfs -o size=1g tmpfs /dev/shm; "$@" & wait $!"""

Cut = Literal["silent", "carrier", "inbound"]


@functools.cache
def possible() -> str:
    """The reason why networks cannot be created on this machine, or an empty string."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"{', '.join(missing)} not found: install iproute2 and util-linux"
    if os.geteuid():
        return "network namespaces need root"
    tried = subprocess.run(
        [*NAMESPACES, "ip", "link", "add", "switch", "type", "bridge"], capture_output=True, text=True
    )
    return f"no network namespace can be made: {tried.stderr.strip()}" if tried.returncode else ""


class Network:
    """A switch and machines with one link each to it, as a context manager.

    Args:
        machines: host names of the machines.
        folder: an existing folder for the file of host names.
    """

    def __init__(self, machines: tuple[str, ...], folder: Path):
        self.machines = machines
        self._hosts = folder / "hosts"
        self._lossy_links: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Network":
        names = "".join(f"{self.address(machine)} {machine}\n" for machine in self.machines)
        self._hosts.write_text(f"127.0.0.1 localhost\n{names}")
        command = [*NAMESPACES, "sh", "-c", START, "sh", str(self._hosts)]
        self._shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._shell.stdout is not None
        if self._shell.stdout.readline() != b"up\n":
            raise OSError(f"no network: exit code {self._shell.wait()}")
        self._first = psutil.Process(self._shell.pid).children()[0].pid
        for machine in self.machines:
            self._connect(machine)
        return self

    def __exit__(self, *exception: object) -> None:
        self._shell.kill()  # ends all processes of the machines
        self._shell.communicate()
        for process in self._lossy_links.values():
            process.communicate()

    def address(self, machine: str) -> str:
        return f"10.99.0.{self._number(machine)}"

    def _number(self, machine: str) -> int:
        return self.machines.index(machine) + 1

    def _connect(self, machine: str) -> None:
        port, one = self._port(machine), ["ip", "-n", machine]
        self._switch("ip", "netns", "add", machine)
        self._switch("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", machine)
        self._switch("ip", "link", "set", port, "master", "switch", "up")
        self._switch(*one, "link", "set", "lo", "up")
        self._switch(*one, "addr", "add", f"{self.address(machine)}/24", "dev", "eth0")
        self._switch(*one, "link", "set", "eth0", "up")

    def _port(self, machine: str) -> str:
        return f"port{self._number(machine)}"

    def _namespace(self, machine: str) -> str:
        return f"/proc/{self._first}/root/run/netns/{machine}"

    def command(self, machine: str, *command: str, switch_on: bool = False) -> list[str]:
        """Command line that runs a command on a machine: as its main process if it switches the machine on, else as an
        additional process.
        """
        outer = ["nsenter", f"--target={self._first}", "--mount", "--pid", "--ipc", "--uts"]
        own = ["unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
        body = [*own, "sh", "-c", SWITCHED_ON, "sh", machine, *command] if switch_on else list(command)
        return [*outer, f"--net={self._namespace(machine)}", "--", *body]

    @contextlib.contextmanager
    def inside(self, machine: str) -> Iterator[None]:
        """Open this thread's sockets in the machine's network during the block."""
        with open("/proc/thread-self/ns/net") as host, open(self._namespace(machine)) as namespace:
            _enter(namespace.fileno())
            try:
                yield
            finally:
                _enter(host.fileno())

    def processes(self, machine: str) -> list[psutil.Process]:
        """The processes of a machine, oldest first."""
        namespace, found = os.stat(self._namespace(machine)).st_ino, []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError):  # the process has ended
                if os.stat(f"/proc/{process.pid}/ns/net").st_ino == namespace and _is_nested(process.pid):
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())

    def power_off(self, machine: str, *, silently: bool = False) -> None:
        """Kill all processes of a machine at once. Its connections are closed, unless `silently`: then its link is cut
        first.
        """
        if silently:
            self.cut(machine)
        for process in self.processes(machine):
            with contextlib.suppress(psutil.NoSuchProcess, OSError):  # the process has ended
                if _own_pid(process.pid) == 1:  # the kernel ends the namespace's other processes with it
                    process.kill()

    def cut(self, machine: str, how: Cut = "silent") -> None:
        """Cut a machine's link until `heal`.

        Args:
            machine: host name.
            how: `silent` drops all packets, `carrier` also takes the link down on both ends, `inbound` drops only
                packets to the machine.
        """
        port = self._port(machine)
        match how:
            case "silent":
                self._switch("ip", "link", "set", port, "nomaster")
            case "carrier":
                self._switch("ip", "link", "set", port, "down")
            case "inbound":
                self._switch("tc", "qdisc", "replace", "dev", port, "root", "bfifo", "limit", "1")

    def isolate(self, *machines: str) -> None:
        """Isolate these machines from each other until `heal`; all others still reach them."""
        for machine in machines:
            self._switch("bridge", "link", "set", "dev", self._port(machine), "isolated", "on")

    def heal(self, *machines: str) -> None:
        """Restore the links of these machines."""
        for machine in machines:
            port = self._port(machine)
            process = self._lossy_links.pop(machine, None)
            if process is not None:
                process.communicate()  # closes its standard input, which ends it
                self._switch("ip", "link", "del", f"{port}w")
            self._switch("ip", "link", "set", port, "master", "switch", "up")
            self._switch("bridge", "link", "set", "dev", port, "isolated", "off")
            self._switch("tc", "qdisc", "del", "dev", port, "root", may_fail=True)
            self._switch("tc", "-n", machine, "qdisc", "del", "dev", "eth0", "root", may_fail=True)

    def narrow(self, machine: str, mbit: float) -> None:
        """Limit the link's bandwidth in each direction."""
        queue = ["root", "tbf", "rate", f"{mbit}mbit", "burst", "64kb", "latency", "100ms"]
        self._switch("tc", "qdisc", "replace", "dev", self._port(machine), *queue)
        self._switch("tc", "-n", machine, "qdisc", "replace", "dev", "eth0", *queue)

    def disturb(self, machine: str, *, delay_ms: float = 0.0, loss: float = 0.0) -> None:
        """Delay packets on the link and drop a share of them, in each direction. A process forwards the packets, because
        not every kernel has `netem`.
        """
        port, end = self._port(machine), f"{self._port(machine)}w"
        self._switch("ip", "link", "add", end, "type", "veth", "peer", "name", f"{end}2")
        self._switch("ip", "link", "set", f"{end}2", "master", "switch", "up")
        self._switch("ip", "link", "set", end, "up")
        self._switch(
            "ip", "-n", machine, "link", "set", "eth0", "gso_max_segs", "1"
        )  # so that single packets are dropped
        self._switch("ip", "link", "set", port, "nomaster")
        carry = [
            sys.executable,
            "-S",
            str(Path(__file__).parent / "lossy_link.py"),
            port,
            end,
            str(delay_ms),
            str(loss),
        ]
        self._lossy_links[machine] = subprocess.Popen(self._of_switch(*carry), stdin=subprocess.PIPE)

    def _of_switch(self, *command: str) -> list[str]:
        return ["nsenter", f"--target={self._first}", "--mount", "--pid", "--net", "--", *command]

    def _switch(self, *command: str, may_fail: bool = False) -> None:
        done = subprocess.run(self._of_switch(*command), capture_output=True, text=True)
        if done.returncode and not may_fail:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def _enter(network: int) -> None:
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if libc.setns(network, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _own_pid(pid: int) -> int:
    """Process id in the process's own namespace."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[-1]) for line in status if line.startswith("NSpid"))


def _is_nested(pid: int) -> bool:
    """Whether a process is in its machine's pid namespace, and not one that starts or watches it from outside."""
    with open(f"/proc/{pid}/status") as status:
        return next(len(line.split()) > 3 for line in status if line.startswith("NSpid"))
