"""Serve a model: a page to drop images on, an endpoint for programs.

    python -m pipelines.serve models:/NAME@champion

The model is a registered one, the folder of a run (its newest snapshot is taken) or of a snapshot. Programs send

    curl --data-binary @image.jpg "http://127.0.0.1:8000/translate?direction=AB" --output translation.png

with the header `Accept: image/jpeg` for a JPEG, a form (curl -F image=@image.jpg -F direction=AB), or POST {"image":
BASE64, "direction": "AB", "reconstruction": true} as JSON to /v1/translate. /docs and /openapi.json describe all of it,
/card describes the model, /health names the version that is served, /ready is for load balancers, /metrics for
Prometheus. An alias is followed: after a promotion or a rollback the other version is served, without a restart; an
MLflow server can notify of it (CYCLEGAN_DIST_WEBHOOK_SECRET). With --canary, a second model answers a share of the
requests; the header X-Model of an answer names the model that made it. Images are not kept. Requests of pages of other
sites are refused, as are images that would take longer than the deadline. A 503 means to try again, after `Retry-After`
seconds. On another --host than 127.0.0.1 requests need a token of --tokens, which `python -m pipelines.tokens` creates.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.config import MAX_FILE_BYTES, MAX_PIXELS
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.registry.sources import refuse_missing_source


@dataclass(frozen=True)
class Serve:
    """Serve a model."""

    model: tyro.conf.Positional[str]
    """models:/NAME@ALIAS, models:/NAME/VERSION, or the folder of a run or of a snapshot."""
    host: str = "127.0.0.1"
    """Address to listen on. One that other machines can reach needs --tokens or --no-authentication."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    max_megabytes: float = 20
    """Largest image file that is accepted."""
    max_megapixels: float = 50
    """Largest image that is accepted."""
    deadline_s: float = 30
    """Seconds for an answer. An image that would take longer on this machine is refused."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which the service is requested, besides localhost and the address of --host."""
    requests_per_client: int = 0
    """Requests of one client address that are handled at once; 0: half of all. Raise it behind a proxy."""
    replicas: int = 1
    """Processes that translate, each with its own GPU if there are any."""
    batch_size: int = 4
    """Images that a replica computes at once."""
    batch_wait_ms: float = 10
    """Milliseconds that an image waits for others."""
    follow_s: float = 2
    """Seconds between two looks at which version models:/NAME@ALIAS names: another one is served from then on, without
    a restart. 0: the alias is looked up once."""
    tokens: str = ""
    """File of the tokens that requests need, which the command tokens writes. It is read again when it changes."""
    authentication: bool = True
    """--no-authentication: let anyone who can reach --host use the service without a token."""
    audit_log: str = ""
    """File to which a line of JSON is appended for each request; -: standard output."""
    root_path: str = ""
    """Prefix under which a proxy passes requests on, and which it removes: /horse2zebra."""
    trusted_proxy: tuple[str, ...] = ()
    """Addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    tls_cert: Path | None = None
    """Certificate in PEM, with those that signed it, for https."""
    tls_key: Path | None = None
    """Its key in PEM, without a password."""
    canary: str = ""
    """A second model, such as models:/NAME@candidate, for a share of the requests, with a replica of its own. It is
    followed, too; where it fails, the first one answers."""
    canary_share: float = 0.1
    """Share of the requests that go to --canary, 0 to 1."""


def serve(command: Serve) -> None:
    """Answer requests until a signal arrives."""
    _check(command)
    refuse_missing_source(command.model)
    if command.canary:
        refuse_missing_source(command.canary)
    from cyclegan_dist.service.access import refuse_certificate, refuse_root_path
    from cyclegan_dist.service.server import listen

    refuse_root_path(command.root_path)
    refuse_certificate(command.tls_cert, command.tls_key)
    with listen(command.host, command.port) as listener:
        _serve_at(listener, command)


def _serve_at(listener: socket.socket, command: Serve) -> None:
    from cyclegan_dist.orchestration.following import opened, opened_canary, report
    from cyclegan_dist.service.access import open_access
    from cyclegan_dist.service.origins import AllowedHosts
    from cyclegan_dist.service.server import is_loopback
    from cyclegan_dist.service.webhook import SECRET_VARIABLE

    local = is_loopback(listener)
    access = open_access(
        tokens=command.tokens,
        authentication=command.authentication,
        where="" if local else f"--host {command.host}",
        proxies=command.trusted_proxy,
        audit_log=command.audit_log,
        report=report,
    )
    proxied = bool(command.trusted_proxy or command.allowed_hosts or command.root_path)
    if not command.tokens and (not local or proxied):
        reach = "the proxy" if local else command.host
        report(f"warning: anyone who can reach {reach} can use this: there is no authentication")
    tls = (command.tls_cert, command.tls_key) if command.tls_cert and command.tls_key else None
    if not local and not tls and not command.trusted_proxy:
        report("warning: images and tokens travel unencrypted: give --tls-cert and --tls-key, or put a proxy before it")
    model = opened(command.model)  # before replicas start, which takes seconds
    canary = opened_canary(command.canary, report) if command.canary else None
    hosts = AllowedHosts.of(listener, (command.host, *command.allowed_hosts))
    from cyclegan_dist.orchestration.serving import Served, ServingOptions, serve_model  # Ray is loaded from here on

    # Taken out of the environment, which the processes of the cluster inherit.
    secret = os.environ.pop(SECRET_VARIABLE, "")
    options = ServingOptions(
        max_bytes=int(command.max_megabytes * 1e6),
        max_pixels=int(command.max_megapixels * 1e6),
        replicas=command.replicas,
        batch_size=command.batch_size,
        batch_wait_s=command.batch_wait_ms / 1000,
        deadline_s=command.deadline_s,
        requests_per_client=command.requests_per_client,
        follow_s=command.follow_s,
        canary_share=command.canary_share,
    )
    served = Served(command.model, model, command.canary, canary)
    root = command.root_path
    serve_model(served, listener, hosts, options, access=access, secret=secret, root_path=root, tls=tls)


def _check(command: Serve) -> None:
    for name, most in (("max_megabytes", MAX_FILE_BYTES / 1e6), ("max_megapixels", MAX_PIXELS / 1e6)):
        if not 0 < (value := getattr(command, name)) <= most:
            raise UsageError(f"--{name.replace('_', '-')} {value:g}: give more than 0 and at most {most:g}")
    for name in ("replicas", "batch_size"):
        if getattr(command, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(command, name)}: give 1 or more")
    if not 1 <= command.deadline_s <= 3600:
        raise UsageError(f"--deadline-s {command.deadline_s:g}: give 1 to 3600")
    if not 0 <= command.follow_s <= 3600:
        raise UsageError(f"--follow-s {command.follow_s:g}: give 0 to 3600")
    if not 0 <= command.canary_share <= 1:
        raise UsageError(f"--canary-share {command.canary_share:g}: give 0 to 1, such as 0.1")
    if command.requests_per_client < 0:
        raise UsageError(f"--requests-per-client {command.requests_per_client}: give 0 or more")
    for name in command.allowed_hosts:
        if not name or "/" in name or "*" in name:
            raise UsageError(
                f"--allowed-hosts {name}: give a name such as images.example.org, without a URL's other parts"
            )
    if not 0 <= command.batch_wait_ms <= 10_000:
        raise UsageError(f"--batch-wait-ms {command.batch_wait_ms:g}: give 0 to 10000")


def main() -> None:
    """Read the command line and serve."""
    serve(parse_options(Serve, "serve", __doc__))


if __name__ == "__main__":
    run_command(main)
