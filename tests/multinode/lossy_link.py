"""A network link with delay and packet loss: `python lossy_link.py INTERFACE INTERFACE DELAY_MS LOSS`.

For kernels without `netem`. Forwards packets between two interfaces after DELAY_MS, and drops the share LOSS of them.
Offloaded packets keep their virtual header (packet(7), PACKET_VNET_HDR). Exits when standard input is closed.
"""

import collections
import random
import select
import socket
import sys
import time

SOL_PACKET, PACKET_VNET_HDR, ETH_P_ALL = 263, 15, 3
HEADER, LARGEST = 10, 10 + 65550
BUFFER = 64 * 2**20


def end(interface: str) -> socket.socket:
    """A raw socket on one interface."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE
    end.bind((interface, 0))
    end.setblocking(False)
    return end


def receive(end: socket.socket) -> bytes | None:
    """The next received packet, or None."""
    while True:
        try:
            packet, (_, _, kind, *_) = end.recvfrom(LARGEST)
        except BlockingIOError:
            return None
        if kind != 4:  # PACKET_OUTGOING, a packet that this process has sent
            return packet


def send(end: socket.socket, packet: bytes) -> None:
    try:
        end.send(packet)
    except OSError:  # the queue is full or the interface is gone, so the packet is lost
        return


def forward(one: socket.socket, two: socket.socket, delay_s: float, loss: float) -> None:
    """Forward packets until standard input is closed."""
    other = {one: two, two: one}
    pending: collections.deque[tuple[float, socket.socket, bytes]] = collections.deque()
    draw = random.Random(0).random
    while True:
        wait = max(0.0, pending[0][0] - time.monotonic()) if pending else None
        readable, _, _ = select.select([one, two, sys.stdin], [], [], wait)
        if sys.stdin in readable:
            return
        for source in (end for end in (one, two) if end in readable):
            for _ in range(64):  # then send packets that are due
                packet = receive(source)
                if packet is None:
                    break
                if draw() >= loss:
                    pending.append((time.monotonic() + delay_s, other[source], packet))
        now = time.monotonic()
        while pending and pending[0][0] <= now:
            _, target, packet = pending.popleft()
            send(target, packet)


if __name__ == "__main__":
    first, second, delay_ms, loss = sys.argv[1:]
    forward(end(first), end(second), float(delay_ms) / 1000, float(loss))
