"""Create, list and revoke tokens of the service.

    python -m pipelines.tokens create tokens.json ann --days 90 --per-minute 60
    python -m pipelines.tokens list tokens.json
    python -m pipelines.tokens revoke tokens.json ann

`create` prints the token, once: the file has its hash only. A client sends it in the header `Authorization: Bearer
TOKEN`. A service that was started with --tokens tokens.json follows the file, without a restart.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.errors import UsageError, run_command

if TYPE_CHECKING:
    from cyclegan_dist.service.tokens import Token


@dataclass(frozen=True)
class Tokens:
    """Create, list and revoke tokens of the service."""

    action: tyro.conf.Positional[Literal["create", "list", "revoke"]]
    """What to do."""
    file: tyro.conf.Positional[Path]
    """File of tokens; the first `create` writes it, for its owner only."""
    name: tyro.conf.Positional[str] = ""
    """Of the token: the client that has it."""
    days: float | None = None
    """create: days until it expires; without, it does not."""
    per_minute: int | None = None
    """create: requests that it may send in any 60 seconds; without, as many as the service answers."""


def main() -> None:
    """Read the command line, and change or show the file."""
    command = parse_options(Tokens, "tokens", __doc__)
    if command.action == "list" and command.name:
        raise UsageError(f"list {command.file} {command.name}: give the file only, all of its tokens are listed")
    if command.action != "list" and not command.name:
        raise UsageError(f"{command.action} {command.file}: give a name, such as ann")
    if command.action != "create" and (command.days is not None or command.per_minute is not None):
        raise UsageError(f"{command.action} takes neither --days nor --per-minute: they are of create")
    from cyclegan_dist.service.tokens import create_token, read_tokens, revoke_token

    if command.action == "create":
        token, secret = create_token(command.file, command.name, days=command.days, per_minute=command.per_minute)
        print(secret)
        print(
            f"{_facts(token)}; {command.file} has its hash only: keep the token, it is not shown again", file=sys.stderr
        )
    elif command.action == "revoke":
        revoke_token(command.file, command.name)
        print(f"{command.name} is revoked: services that follow {command.file} refuse it within a second")
    else:
        for token in read_tokens(command.file):
            print(_facts(token))


def _facts(token: "Token") -> str:
    import time

    expired = "expired" if token.is_expired(time.time()) else "expires"
    expiry = f"{expired} {token.expires:%Y-%m-%d %H:%M} UTC" if token.expires else "does not expire"
    rate = f"{token.per_minute} requests a minute" if token.per_minute else "no limit of its own"
    return f"{token.name}: created {token.created:%Y-%m-%d}, {expiry}, {rate}"


if __name__ == "__main__":
    run_command(main)
