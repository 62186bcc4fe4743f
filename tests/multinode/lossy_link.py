"""A cable that delays and loses packets: `python wire.py INTERFACE INTERFACE DELAY_MS LOSS`.

For kernels without `netem`. Takes each packet that comes in at one interface to the other, in each direction after
DELAY_MS, and loses the share LOSS of them. Offloaded packets keep their virtual header (packet(7), PACKET_VNET_HDR). Ends when standard input does.
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
    """One end of the cable."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE
    end.bind((interface, 0))
    end.setblocking(False)
    return end


def receive(end: socket.socket) -> bytes | None:
    """The next packet that came in, or None."""
    while True:
        try:
            packet, (_, _, kind, *_) = end.recvfrom(LARGEST)
        except BlockingIOError:
            return None
        if kind != 4:  # PACKET_OUTGOING: what we sent ourselves
            return packet


def send(end: socket.socket, packet: bytes) -> None:
    try:
        end.send(packet)
    except OSError:  # the queue is full or the interface gone: a lost packet, as on any cable
        return


def carry(one: socket.socket, two: socket.socket, delay_s: float, loss: float) -> None:
    """Carry packets until standard input ends."""
    other = {one: two, two: one}
    under_way: collections.deque[tuple[float, socket.socket, bytes]] = collections.deque()
    draw = random.Random(0).random
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select([one, two, sys.stdin], [], [], wait)
        if sys.stdin in readable:
            return
        for source in (end for end in (one, two) if end in readable):
            for _ in range(64):  # and then a look at the clock
                packet = receive(source)
                if packet is None:
                    break
                if draw() >= loss:
                    under_way.append((time.monotonic() + delay_s, other[source], packet))
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _, target, packet = under_way.popleft()
            send(target, packet)


if __name__ == "__main__":
    first, second, delay_ms, loss = sys.argv[1:]
    carry(end(first), end(second), float(delay_ms) / 1000, float(loss))
