"""Tokens of clients: a file with their names and the hashes of their secrets, for the service and for the command that
changes it.

A secret has 256 random bits, so that its SHA-256 cannot be searched for, and needs no slow key derivation.
"""

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cyclegan_dist.errors import UsageError, pipeline_command, suggestion
from cyclegan_dist.storage.files import hidden, lock, write_atomic

PREFIX = "cgd_"  # by which programs that search for leaked secrets recognise it
NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
MAX_PER_MINUTE = 100_000
MAX_DAYS = 36_500
_MAX_BYTES = 10_000_000


class Token(BaseModel):
    """What is kept of a token.

    Attributes:
        name: of the client that has it, for people and for the audit log.
        sha256: of the secret, in hexadecimal digits.
        created: when.
        expires: from when on it is refused; None: never.
        per_minute: requests that it may send in any 60 seconds; None: no limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{NAME}$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    created: AwareDatetime
    expires: AwareDatetime | None = None
    per_minute: int | None = Field(None, ge=1, le=MAX_PER_MINUTE)

    def is_expired(self, now: float) -> bool:
        """Whether it is refused at a time in seconds since 1970."""
        return self.expires is not None and now >= self.expires.timestamp()


class _Tokens(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: list[Token]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [token.name for token in self.tokens]
        if len({*names}) < len(names):
            raise ValueError("two tokens have the same name")
        return self


def hashed(secret: str) -> str:
    """The hash of a secret, as the file has it."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def read_tokens(path: Path) -> list[Token]:
    """The tokens of a file.

    Raises:
        UsageError: if it does not exist, cannot be read, is damaged, or others than its owner have access.
    """
    try:
        # Without waiting: a pipe would block the service, which reads the file again.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{path} is no file: give the file of tokens, which is read again when it changes")
            refuse_shared(path, os.fstat(file.fileno()))
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        command = pipeline_command("tokens")
        raise UsageError(f"{path} does not exist: write it with {command} create {path} NAME") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; give the file of tokens") from error
    try:
        if len(data) > _MAX_BYTES:
            raise UsageError(f"{path} is no file of tokens: it has more than {_MAX_BYTES:,} bytes")
        return _Tokens.model_validate_json(data).tokens
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise UsageError(f"{path} is no file of tokens, or damaged ({what}): restore it") from None


def refuse_shared(path: Path, status: os.stat_result) -> None:
    """Raise UsageError if others than a file's owner can read it, or change it. The group may read a file of another
    owner: that is how Kubernetes mounts a Secret for a process that is not root's.
    """
    own = status.st_uid == os.geteuid()
    if stat.S_IMODE(status.st_mode) & (0o077 if own else 0o037):
        mode = stat.S_IMODE(status.st_mode)
        raise UsageError(f"{path} has mode {mode:04o}, with access for others than its owner: chmod 600 {path}")


def create_token(
    path: Path, name: str, *, days: float | None = None, per_minute: int | None = None, now: datetime | None = None
) -> tuple[Token, str]:
    """Add a token to a file, which is created with mode 0600 if there is none.

    Args:
        path: of the file.
        name: of the client.
        days: until it expires; None: it does not.
        per_minute: requests that it may send in any 60 seconds; None: no limit.
        now: the time.

    Returns:
        The token, and its secret, which is kept nowhere.

    Raises:
        UsageError: if there is one of this name, or the file cannot be read.
        OSError: if it cannot be written.
    """
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{name!r} cannot name a token: give 1 to 64 of the characters a-z, A-Z, 0-9 . _ @ -")
    if days is not None and not 0 < days <= MAX_DAYS:
        raise UsageError(f"--days {days:g}: give more than 0 and at most {MAX_DAYS:,}")
    if per_minute is not None and not 1 <= per_minute <= MAX_PER_MINUTE:
        raise UsageError(f"--per-minute {per_minute}: give 1 to {MAX_PER_MINUTE:,}")
    created = (now or datetime.now(UTC)).replace(microsecond=0)
    secret = PREFIX + secrets.token_urlsafe(32)
    token = Token(
        name=name,
        sha256=hashed(secret),
        created=created,
        expires=None if days is None else created + timedelta(days=days),
        per_minute=per_minute,
    )
    path = path.resolve()  # else a link would be replaced, and not what it names
    with _alone(path):
        before = read_tokens(path) if path.exists() else []
        if any(one.name == name for one in before):
            raise UsageError(f"{path} has a token {name}: give another name, or revoke that one first")
        _write(path, [*before, token])
    return token, secret


def revoke_token(path: Path, name: str) -> None:
    """Remove a token from a file.

    Raises:
        UsageError: if there is none of this name, or the file cannot be read.
        OSError: if it cannot be written.
    """
    path = path.resolve()
    with _alone(path):
        before = read_tokens(path)
        if all(one.name != name for one in before):
            guess = suggestion(name, [one.name for one in before])
            raise UsageError(f"{path} has no token {name!r}: {guess}{pipeline_command('tokens')} list {path} shows all")
        _write(path, [one for one in before if one.name != name])


def _alone(path: Path) -> AbstractContextManager[None]:
    """Between reading and writing, no other command may write."""
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder: create it, or give the file another place")
    return lock(hidden(path, ending=".lock"), wait=True)


def _write(path: Path, tokens: Sequence[Token]) -> None:
    text = _Tokens(tokens=list(tokens)).model_dump_json(indent=2, exclude_none=True)
    owner = path.stat() if path.exists() else None
    before = os.umask(0o077)
    try:
        write_atomic(path, f"{text}\n")
    finally:
        os.umask(before)
    if owner and owner.st_uid != os.geteuid():
        os.chown(path, owner.st_uid, owner.st_gid)  # root's change must not take the file away from the service
