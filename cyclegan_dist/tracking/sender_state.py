"""How far a run's journal has been sent, and where to: `mlflow.json` in the run's folder."""

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cyclegan_dist.errors import without_passwords
from cyclegan_dist.tracking.journal import JOURNAL

SENDER_STATE = "mlflow.json"


@dataclass(frozen=True)
class SenderState:
    """Safe to lose: everything is sent again then, to the same MLflow run, and nothing is there twice.

    Attributes:
        store: where MLflow is, without a password.
        key: `key_of` the run, a tag by which its MLflow run is found.
        run_id: of the MLflow run; empty before it is made.
        offset: bytes of the journal that MLflow has.
    """

    store: str = ""
    key: str = ""
    run_id: str = ""
    offset: int = 0

    @classmethod
    def read(cls, run_dir: Path) -> "SenderState":
        """The run's bookmark, or an empty one if there is none that can be read."""
        try:
            return cls(**json.loads((run_dir / SENDER_STATE).read_text()))
        except (OSError, ValueError, TypeError):
            return cls()

    def save(self, run_dir: Path) -> None:
        """Put it in the run's folder."""
        temporary = run_dir / f".{SENDER_STATE}"
        temporary.write_text(json.dumps(dataclasses.asdict(self)))
        os.replace(temporary, run_dir / SENDER_STATE)


def key_of(run_dir: Path) -> str:
    """The same for a run wherever its folder is moved, another for a copy under another name: made of the folder's
    name and of the journal's first line, which holds the config and the millisecond of the start.
    """
    with (run_dir / JOURNAL).open("rb") as file:
        return hashlib.sha256(run_dir.name.encode() + b"\n" + file.readline()).hexdigest()[:32]


def first_line(error: BaseException) -> str:
    """What an exception says first, without the names and passwords of URLs in it."""
    text = str(error).strip() or type(error).__name__
    return without_passwords(text.splitlines()[0])


def server_of(tracking_uri: str) -> str:
    """A tracking URI, of a server or of a database, without a user's name and password."""
    scheme, separator, rest = tracking_uri.rpartition("://")
    if not separator or scheme.startswith(("file", "sqlite")):  # a path: nothing in it is a secret
        return tracking_uri
    return f"{scheme}{separator}{rest.partition('?')[0].rpartition('@')[2]}"
