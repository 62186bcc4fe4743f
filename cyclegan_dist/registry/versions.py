"""A registered model in MLflow's registry: its versions and aliases.

`champion` is the version in use, `previous` the one before it, `candidate` one that is about to become champion. An
alias moves in one atomic call, and a version holds both generators, so that users always get a matching pair.
"""

import contextlib
import os
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.registry.sources import store_in_use
from cyclegan_dist.storage.files import lock
from cyclegan_dist.tracking.sender_state import first_line

CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"
DIGEST = "cyclegan_dist.snapshot"  # tag of a version: `Snapshot.digest`
LOCK_SUFFIX, LOG_SUFFIX = "--promotion", "--log"  # of registered models beside one, without versions
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"  # MLflow also accepts names that cannot be part of a URI


@dataclass(frozen=True)
class Version:
    """A registered pair of generators."""

    number: str
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]


class Registered:
    """A registered model. Its methods raise UsageError if MLflow fails."""

    def __init__(self, name: str):
        if not re.fullmatch(NAME_PATTERN, name):
            raise UsageError(f"name {name!r}: give letters, digits, dots, dashes and underscores, 128 at most")
        for suffix in (LOCK_SUFFIX, LOG_SUFFIX):
            if name.endswith(suffix):
                raise UsageError(f"name {name!r}: names that end in {suffix} belong to the promotion of another one")
        self.name, self._client, self._token = name, MlflowClient(), ""

    def aliases(self) -> dict[str, str]:
        """The version of each alias; empty if nothing is registered under the name."""
        with registry_errors():
            found = self._client.search_registered_models(f"name = '{self.name}'")
            return {alias: str(version) for alias, version in found[0].aliases.items()} if found else {}

    def versions(self) -> list[Version]:
        """All, newest first."""
        aliases = self.aliases()
        with registry_errors():
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
        """Register a logged model as a new version. Returns its number."""
        with registry_errors():
            if not self._client.search_registered_models(f"name = '{self.name}'"):
                self._client.create_registered_model(self.name)
            version = self._client.create_model_version(
                self.name, model_uri, run_id, dict(tags), description=description, model_id=model_uri.rpartition("/")[2]
            )
            return str(version.version)

    def tag(self, number: str, key: str, value: str) -> None:
        """Set a tag of a version."""
        with registry_errors():
            self._client.set_model_version_tag(self.name, number, key, value)

    def point(self, alias: str, number: str) -> None:
        """Move an alias."""
        with registry_errors():
            self._client.set_registered_model_alias(self.name, alias, number)

    def drop(self, alias: str) -> None:
        """Delete an alias."""
        with registry_errors():
            self._client.delete_registered_model_alias(self.name, alias)

    @contextlib.contextmanager
    def alone(self, folder: Path) -> Iterator[None]:
        """Hold the lock on this model's aliases until the block ends.

        Between processes of this machine it is a file lock in `folder`. Between machines it is a registered model
        NAME--promotion, which MLflow creates only once; one left by a killed process of this machine is deleted.

        Raises:
            UsageError: if another promotion is running, or MLflow fails.
        """
        folder.mkdir(parents=True, exist_ok=True)
        held = f"another promotion of {self.name} is running: try again when it has ended"
        with lock(folder / f".{self.name}.promotion", held=held):
            mutex = f"{self.name}{LOCK_SUFFIX}"
            self._hold(mutex)
            try:
                yield
            finally:
                with registry_errors():
                    if self._holds(mutex):
                        self._client.delete_registered_model(mutex)

    def refuse_lost_lock(self) -> None:
        """Refuse to go on if somebody has deleted the lock, and another promotion may have begun. Call it right before
        aliases are moved: MLflow has no call that moves one only if it still is where it was.

        Raises:
            UsageError: if `alone` does not hold any more.
        """
        mutex = f"{self.name}{LOCK_SUFFIX}"
        with registry_errors():
            if not self._holds(mutex):
                raise UsageError(
                    f"the lock {mutex} was deleted while this promotion of {self.name} was running, so that another "
                    "one may have begun: nothing was changed; run the same command again"
                )

    def refuse_moved(self, champion: str) -> None:
        """Refuse to go on if `champion` was moved without the lock, such as in MLflow's page, since it was looked up.

        Raises:
            UsageError: if it is another version than `champion`; empty for none.
        """
        if (now := self.aliases().get(CHAMPION, "")) != champion:
            raise UsageError(
                f"{CHAMPION} of {self.name} was version {champion or 'none'} and is {now or 'none'} now: it was moved "
                "while this promotion was running, and stays so; run the same command again"
            )

    def _holds(self, mutex: str) -> bool:
        found = self._client.search_registered_models(f"name = '{mutex}'")
        return bool(found) and found[0].tags.get("token") == self._token

    def _hold(self, mutex: str) -> None:
        holder, self._token = f"{socket.gethostname()} process {os.getpid()}", uuid.uuid4().hex
        with registry_errors():
            found = self._client.search_registered_models(f"name = '{mutex}'")
            if found and _is_dead(found[0].tags.get("holder", "")):
                self._client.delete_registered_model(mutex)
            try:
                self._client.create_registered_model(mutex, tags={"holder": holder, "token": self._token})
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                    raise
                other = self._client.get_registered_model(mutex).tags.get("holder", "someone")
                raise UsageError(
                    f"another promotion of {self.name} is running, by {other}: try again when it has ended; if that "
                    f"process has died, delete the registered model {mutex}"
                ) from None


def _is_dead(holder: str) -> bool:
    host, _, pid = holder.partition(" process ")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)  # sends nothing
    except ProcessLookupError:
        return True
    except PermissionError:  # of another user
        pass
    return False


@contextlib.contextmanager
def registry_errors() -> Iterator[None]:
    """Raise UsageError where MLflow or its storage fails."""
    try:
        yield
    except (MlflowException, OSError) as error:
        raise UsageError(f"the model registry of {store_in_use()} failed: {first_line(error)}") from error


def list_versions(name: str) -> list[Version]:
    """All versions of a name, newest first.

    Raises:
        UsageError: if there is none, or MLflow cannot be reached.
    """
    versions = Registered(name).versions()
    if not versions:
        raise UsageError(
            f"nothing is registered as {name} in {store_in_use()}: promote a run with "
            f"{pipeline_command('promote')} RUN_DIR"
        )
    return versions
