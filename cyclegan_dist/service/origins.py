"""Checks of Host, Origin and Sec-Fetch-Site: pages of other sites can neither read from the service nor use it."""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from cyclegan_dist.service.messages import Refusal


@dataclass(frozen=True)
class AllowedHosts:
    """Names and addresses under which the service may be requested.

    A page of another site can bring a browser to request this service under the other site's name, by changing the
    address of that name (DNS rebinding); then the browser lets the page read the answers.

    Attributes:
        names: in lower case; addresses among them.
        any_address: whether every IP address is allowed, to which DNS rebinding does not apply.
    """

    names: frozenset[str]
    any_address: bool = False

    @classmethod
    def of(cls, listener: socket.socket, given: Iterable[str] = ()) -> "AllowedHosts":
        """What is allowed at a listening socket: its address, loopback addresses, `localhost`, and the names `given`;
        on other than loopback addresses the name of this machine, too. Where it listens on all addresses, all are
        allowed.
        """
        address = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0])
        names = {"localhost", "127.0.0.1", "::1", str(address), *(name.lower().rstrip(".") for name in given)}
        if not address.is_loopback:
            names.add(socket.gethostname().lower())
        return cls(frozenset(names), address.is_unspecified)

    def __contains__(self, host: str) -> bool:
        """Whether a Host header, with or without a port, is allowed."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in self.names or name.endswith(".localhost"):  # which browsers never look up
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address or str(address) in self.names


def refuse_other_sites(request: Request, hosts: AllowedHosts) -> None:
    """Raise Refusal for a host that is not allowed, and for requests that a browser sends for a page of another origin.

    Programs send neither Origin nor Sec-Fetch-Site. Browsers send one of them with all requests that could change
    something or whose answers could be read. Following a link to the page itself is allowed.
    """
    host = request.headers.get("host", "")
    if host not in hosts:
        raise Refusal(421, f"the host {host[:80]!r} is not allowed: add its name to --allowed-hosts")
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    followed = request.url.path == request.base_url.path and request.method in ("GET", "HEAD") and origin is None
    if site not in ("none", "same-origin") and not followed:
        raise Refusal(403, "requests of pages of other sites are refused")
    if origin is not None and not _is_same(origin, host):
        raise Refusal(403, f"requests of pages of other origins are refused, and this one is of {origin[:80]!r}")


def _is_same(origin: str, host: str) -> bool:
    """Whether an Origin is of the host and port of the request. A proxy may have changed the scheme."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()
