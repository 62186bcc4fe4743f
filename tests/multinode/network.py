"""Machines on a switch, out of this kernel's namespaces: each has an address, a host name and processes of its own.

All of it lives in one set of namespaces that nobody else sees: several networks with the same addresses do not meet,
nothing is added to the host's network or mounts, and everything ends with the process that made it, however that ends.
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
ROOM = ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
# The shell is the namespaces' first process: they end with it, and it ends when our end of its standard input closes.
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
# A machine that is switched on: the processes below share their own pids, host name and memory files. The shell stays:
# it takes leave of orphans, which Ray's job server would otherwise take for alive until its patience ends.
SWITCHED_ON = """hostname "$1"; shift; mount -t tmpfs -o size=1g tmpfs /dev/shm; "$@" & wait $!"""

Cut = Literal["silent", "carrier", "inbound"]


@functools.cache
def possible() -> str:
    """Why there can be no network here, or nothing."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"{', '.join(missing)} not found: install iproute2 and util-linux"
    if os.geteuid():
        return "network namespaces need root"
    tried = subprocess.run([*ROOM, "ip", "link", "add", "switch", "type", "bridge"], capture_output=True, text=True)
    return f"no network namespace can be made: {tried.stderr.strip()}" if tried.returncode else ""


class Network:
    """A switch, and machines with one cable each to it. A context manager.

    Args:
        machines: their host names.
        folder: for a file of their names; must exist.
    """

    def __init__(self, machines: tuple[str, ...], folder: Path):
        self.machines = machines
        self._hosts = folder / "hosts"
        self._wires: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Network":
        names = "".join(f"{self.address(machine)} {machine}\n" for machine in self.machines)
        self._hosts.write_text(f"127.0.0.1 localhost\n{names}")
        command = [*ROOM, "sh", "-c", START, "sh", str(self._hosts)]
        self._room = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._room.stdout is not None
        if self._room.stdout.readline() != b"up\n":
            raise OSError(f"no network: exit code {self._room.wait()}")
        self._first = psutil.Process(self._room.pid).children()[0].pid
        for machine in self.machines:
            self._connect(machine)
        return self

    def __exit__(self, *exception: object) -> None:
        self._room.kill()  # and with it, all that runs on the machines
        self._room.communicate()
        for wire in self._wires.values():
            wire.communicate()

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
        """What runs a command on a machine: for the whole life of one that it switches on, or beside what runs there
        with the same network.
        """
        room = ["nsenter", f"--target={self._first}", "--mount", "--pid", "--ipc", "--uts"]
        own = ["unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
        body = [*own, "sh", "-c", SWITCHED_ON, "sh", machine, *command] if switch_on else list(command)
        return [*room, f"--net={self._namespace(machine)}", "--", *body]

    @contextlib.contextmanager
    def inside(self, machine: str) -> Iterator[None]:
        """Sockets that this thread opens in the block are the machine's."""
        with open("/proc/thread-self/ns/net") as here, open(self._namespace(machine)) as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    def processes(self, machine: str) -> list[psutil.Process]:
        """What runs on a machine, its first process first."""
        namespace, found = os.stat(self._namespace(machine)).st_ino, []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if os.stat(f"/proc/{process.pid}/ns/net").st_ino == namespace and _is_nested(process.pid):
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())

    def power_off(self, machine: str, *, silently: bool = False) -> None:
        """End all processes of a machine at once. The others see its connections close, unless `silently`: then the
        cable is cut first.
        """
        if silently:
            self.cut(machine)
        for process in self.processes(machine):
            with contextlib.suppress(psutil.NoSuchProcess, OSError):  # it has ended meanwhile
                if _own_pid(process.pid) == 1:  # the kernel ends all others of its namespace with it
                    process.kill()

    def cut(self, machine: str, how: Cut = "silent") -> None:
        """Cut a machine's cable until it is healed.

        Args:
            machine: whose cable.
            how: `silent` loses what is sent, `carrier` is also seen as a dead link by the switch and the machine,
                `inbound` loses only what is sent to the machine.
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
        """Isolate these machines from each other until they are healed; all others still reach them."""
        for machine in machines:
            self._switch("bridge", "link", "set", "dev", self._port(machine), "isolated", "on")

    def heal(self, *machines: str) -> None:
        """Put the cable into its first state."""
        for machine in machines:
            port = self._port(machine)
            wire = self._wires.pop(machine, None)
            if wire is not None:
                wire.communicate()  # its standard input ends
                self._switch("ip", "link", "del", f"{port}w")
            self._switch("ip", "link", "set", port, "master", "switch", "up")
            self._switch("bridge", "link", "set", "dev", port, "isolated", "off")
            self._switch("tc", "qdisc", "del", "dev", port, "root", may_fail=True)
            self._switch("tc", "-n", machine, "qdisc", "del", "dev", "eth0", "root", may_fail=True)

    def narrow(self, machine: str, mbit: float) -> None:
        """Let the cable carry so many Mbit/s in each direction."""
        queue = ["root", "tbf", "rate", f"{mbit}mbit", "burst", "64kb", "latency", "100ms"]
        self._switch("tc", "qdisc", "replace", "dev", self._port(machine), *queue)
        self._switch("tc", "-n", machine, "qdisc", "replace", "dev", "eth0", *queue)

    def disturb(self, machine: str, *, delay_ms: float = 0.0, loss: float = 0.0) -> None:
        """Delay what goes through the cable, and lose a share of it, in each direction. The kernel's own `netem` is
        not everywhere, so a process carries the packets.
        """
        port, end = self._port(machine), f"{self._port(machine)}w"
        self._switch("ip", "link", "add", end, "type", "veth", "peer", "name", f"{end}2")
        self._switch("ip", "link", "set", f"{end}2", "master", "switch", "up")
        self._switch("ip", "link", "set", end, "up")
        self._switch("ip", "-n", machine, "link", "set", "eth0", "gso_max_segs", "1")  # whole packets are lost
        self._switch("ip", "link", "set", port, "nomaster")
        carry = [sys.executable, "-S", str(Path(__file__).parent / "wire.py"), port, end, str(delay_ms), str(loss)]
        self._wires[machine] = subprocess.Popen(self._of_switch(*carry), stdin=subprocess.PIPE)

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
    """The number a process has in its own namespace."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[-1]) for line in status if line.startswith("NSpid"))


def _is_nested(pid: int) -> bool:
    """Whether a process is in a namespace of pids of its machine, not one that starts or watches it from outside."""
    with open(f"/proc/{pid}/status") as status:
        return next(len(line.split()) > 3 for line in status if line.startswith("NSpid"))
