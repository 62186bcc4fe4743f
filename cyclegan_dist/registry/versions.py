"""One name in MLflow's registry: its versions, and the aliases that say which of them is which.

champion is what users get, previous what they got before, candidate one that is about to become champion. An alias
moves in one call, and a version holds both generators, so that whoever asks gets, at any moment, a pair that belongs
together.
"""

import contextlib
import fcntl
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from cyclegan_dist.errors import UsageError
from cyclegan_dist.tracking.sender_state import first_line

CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"  # MLflow takes names that no URI can hold


@dataclass(frozen=True)
class Version:
    """A registered pair of generators."""

    number: str
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]


class Registered:
    """One name. Its methods raise UsageError where MLflow is away or refuses."""

    def __init__(self, name: str):
        if not re.fullmatch(NAME_PATTERN, name):
            raise UsageError(f"name {name!r}: give letters, digits, dots, dashes and underscores, 128 at most")
        self.name, self._client = name, MlflowClient()

    def aliases(self) -> dict[str, str]:
        """The version of each alias; empty if nothing is registered under the name."""
        with _told():
            found = self._client.search_registered_models(f"name = '{self.name}'")
            return {alias: str(version) for alias, version in found[0].aliases.items()} if found else {}

    def versions(self) -> list[Version]:
        """All, newest first."""
        aliases = self.aliases()
        with _told():
            found = self._client.search_model_versions(f"name = '{self.name}'")
        return [
            Version(
                str(version.version),
                version.run_id or "",
                version.tags,
                tuple(sorted(alias for alias, number in aliases.items() if number == str(version.version))),
            )
            for version in sorted(found, key=lambda version: -int(version.version))
        ]

    def register(self, model_uri: str, run_id: str, tags: Mapping[str, str], description: str) -> str:
        """Make a version of a logged model. Returns its number."""
        with _told():
            if not self._client.search_registered_models(f"name = '{self.name}'"):
                self._client.create_registered_model(self.name)
            version = self._client.create_model_version(
                self.name, model_uri, run_id, dict(tags), description=description, model_id=model_uri.rpartition("/")[2]
            )
            return str(version.version)

    def tag(self, number: str, key: str, value: str) -> None:
        """Note something of a version."""
        with _told():
            self._client.set_model_version_tag(self.name, number, key, value)

    def point(self, alias: str, number: str) -> None:
        """Move an alias."""
        with _told():
            self._client.set_registered_model_alias(self.name, alias, number)

    def drop(self, alias: str) -> None:
        """Take an alias away."""
        with _told():
            self._client.delete_registered_model_alias(self.name, alias)

    @contextlib.contextmanager
    def alone(self, folder: Path) -> Iterator[None]:
        """Be the only one who moves this name's aliases, until the block ends.

        Among processes of this machine a lock on a file in `folder` sees to it, which ends with its holder. Among
        machines, a registered model NAME--promotion, of which MLflow makes one only; one that a killed process of this
        machine has left is taken away.

        Raises:
            UsageError: if another is at it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{self.name}.promotion").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"another promotion of {self.name} is going on: try again when it is done") from None
            mutex = f"{self.name}--promotion"
            self._hold(mutex)
            try:
                yield
            finally:
                with _told():
                    self._client.delete_registered_model(mutex)

    def _hold(self, mutex: str) -> None:
        holder = f"{socket.gethostname()} process {os.getpid()}"
        with _told():
            found = self._client.search_registered_models(f"name = '{mutex}'")
            if found and _is_dead(found[0].tags.get("holder", "")):
                self._client.delete_registered_model(mutex)
            try:
                self._client.create_registered_model(mutex, tags={"holder": holder})
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                    raise
                other = self._client.get_registered_model(mutex).tags.get("holder", "someone")
                raise UsageError(
                    f"another promotion of {self.name} is going on, by {other}: try again when it is done; if that "
                    f"process is gone, delete the registered model {mutex}"
                ) from None


def _is_dead(holder: str) -> bool:
    host, _, pid = holder.partition(" process ")
    return host == socket.gethostname() and not Path(f"/proc/{pid}").exists()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (MlflowException, OSError) as error:
        raise UsageError(f"the registry does not answer as it should: {first_line(error)}") from error
