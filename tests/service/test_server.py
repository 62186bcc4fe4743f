import socket

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.service.server import address, is_loopback, listen


def test_a_taken_port_is_one_line() -> None:
    with listen("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("127.0.0.1", 70_000), ("198.51.100.7", 0)])
def test_an_invalid_address_is_one_line(host: str, port: int) -> None:
    with pytest.raises(UsageError, match="cannot listen on"):
        listen(host, port)


def test_loopback_addresses_are_recognised() -> None:
    with listen("127.0.0.1", 0) as door:
        assert is_loopback(door)
        assert address(door) == f"http://127.0.0.1:{door.getsockname()[1]}/"
    with listen("0.0.0.0", 0) as door:
        assert not is_loopback(door)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 on this machine")
def test_ipv6_addresses_are_written_as_urls() -> None:
    try:
        door = listen("::1", 0)
    except UsageError:
        pytest.skip("no IPv6 loopback on this machine")
    with door:
        assert address(door).startswith("http://[::1]:")
