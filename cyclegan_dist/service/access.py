"""Who may use the service, and what is recorded of it: tokens, proxies, the audit log, TLS."""

import ipaddress
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from starlette.middleware import Middleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.service.audit import Audited, AuditLog
from cyclegan_dist.service.authentication import Authenticated, Authentication


@dataclass(frozen=True, kw_only=True)
class Access:
    """Of one service.

    Attributes:
        authentication: by tokens; None: everyone who can reach the service may use it.
        proxies: addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are believed.
        audit: where requests are recorded; None: nowhere.
    """

    authentication: Authentication | None = None
    proxies: tuple[str, ...] = ()
    audit: AuditLog | None = None

    def around_all(self) -> list[Middleware]:
        """The middleware of all requests, outermost first: the audit log has the address that a proxy forwards."""
        proxies = [Middleware(cast(Any, ProxyHeadersMiddleware), list(self.proxies))] if self.proxies else []
        return proxies + ([Middleware(Audited, self.audit)] if self.audit else [])

    def around_private(self) -> list[Middleware]:
        """The middleware of requests that need a token."""
        return [Middleware(Authenticated, self.authentication)] if self.authentication else []


def open_access(
    *,
    tokens: str,
    authentication: bool,
    where: str,
    proxies: Sequence[str],
    audit_log: str,
    report: Callable[[str], object],
) -> Access:
    """The access of a service.

    Args:
        tokens: path of the file of tokens; empty: there is none.
        authentication: whether it has not been switched off by name.
        where: the option and the address by which other machines can reach the service; empty: they cannot.
        proxies: addresses and networks of proxies before it.
        audit_log: path of a file, or -; empty: requests are not recorded.
        report: called with a line when the tokens cannot be read any more.

    Raises:
        UsageError: if it would be open to other machines without being asked to, or a file cannot be used.
    """
    if tokens and not authentication:
        raise UsageError("--no-authentication and --tokens exclude each other: give one of them")
    if where and authentication and not tokens:
        raise UsageError(
            f"{where} can be reached from other machines: give --tokens FILE, which {pipeline_command('tokens')} "
            "create FILE NAME writes, or --no-authentication"
        )
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            raise UsageError(
                f"--trusted-proxy {proxy}: give the address of a proxy, such as 10.0.0.7, or a network: 10.0.0.0/24"
            ) from None
    return Access(
        authentication=Authentication(Path(tokens), report) if tokens else None,
        proxies=tuple(proxies),
        audit=AuditLog(audit_log) if audit_log else None,
    )


def refuse_root_path(path: str) -> None:
    """Raise UsageError for what is no prefix of URLs."""
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise UsageError(f"--root-path {path}: give a path such as /horse2zebra, without / at its end")


def refuse_certificate(cert: Path | None, key: Path | None) -> None:
    """Raise UsageError if a certificate and its key cannot be used for TLS."""
    if (cert is None) != (key is None):
        raise UsageError("--tls-cert and --tls-key belong together: give both")
    if cert is None or key is None:
        return
    for option, path in (("--tls-cert", cert), ("--tls-key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise UsageError(f"{option} {path} cannot be read: {error.strerror}; give a PEM file") from error
    encrypted: list[bool] = []

    def password() -> str:  # else OpenSSL would ask at the terminal
        encrypted.append(True)
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password)
    except (ssl.SSLError, ValueError) as error:
        if encrypted:
            raise UsageError(
                f"--tls-key {key} is encrypted: give one without a password (openssl pkey -in {key} -out KEY)"
            ) from error
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise UsageError(
                f"--tls-key {key} is not the key of {cert}: give the two that were made together"
            ) from error
        raise UsageError(
            f"--tls-cert {cert} and --tls-key {key} are no certificate and its key in PEM: give the two files "
            "(the certificate first, then those that signed it)"
        ) from error
