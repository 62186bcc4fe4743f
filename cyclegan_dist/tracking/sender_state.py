"""What a run has been sent to, and how much of its journal: `mlflow.json`, `tensorboard.json` and `wandb.json`."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cyclegan_dist.errors import UsageError, without_passwords
from cyclegan_dist.storage.checked import DamagedError, parse_checked, read_checked, write_checked
from cyclegan_dist.storage.layout import RunFolder


@dataclass(frozen=True)
class SenderState:
    """Safe to lose: the journal is then sent again to the same run, where nothing is duplicated.

    Attributes:
        store: the tracking URI of MLflow, without a password; the project of Weights & Biases.
        key: `key_of` the run, which identifies it there.
        run_id: of the MLflow run; empty before it is created. Of Weights & Biases, the folder that a sender is writing
            offline.
        offset: bytes of the journal that have been sent.
        position: what they are there: bytes of the event file of TensorBoard, rows of Weights & Biases.
    """

    store: str = ""
    key: str = ""
    run_id: str = ""
    offset: int = 0
    position: int = 0

    @classmethod
    def read(cls, run_dir: Path, destination: str = "mlflow") -> "SenderState":
        """The state of the run, or an empty one if there is none or it is damaged."""
        try:
            state = cls(**read_checked(RunFolder(run_dir).state_of(destination)))
        except (OSError, DamagedError, TypeError):
            return cls()
        texts = (state.store, state.key, state.run_id)
        numbers = (state.offset, state.position)
        fits = all(isinstance(one, str) for one in texts) and all(isinstance(one, int) for one in numbers)
        return state if fits else cls()

    def save(self, run_dir: Path, destination: str = "mlflow") -> None:
        """Write it to the run folder.

        Raises:
            OSError: if it cannot be written.
        """
        write_checked(RunFolder(run_dir).state_of(destination), dataclasses.asdict(self))


def key_of(run_dir: Path) -> str:
    """Identifies a run: a hash of the folder's name and of the journal's first line, which holds the config and the
    start time. Moving the folder keeps it; a copy under another name gets another key.

    Raises:
        OSError: if there is no journal.
        UsageError: if its first line is damaged, and the sender's state, which has the key too, is lost.
    """
    path = RunFolder(run_dir).journal
    with path.open("rb") as file:
        line = file.readline()
    try:
        parse_checked(line)
    except DamagedError as error:
        if kept := SenderState.read(run_dir).key:
            return kept
        raise UsageError(
            f"the first line of {path} is damaged ({error}), which identifies the run in MLflow: restore it"
        ) from error
    return hashlib.sha256(run_dir.name.encode() + b"\n" + line).hexdigest()[:32]


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, with user names and passwords removed from URLs."""
    text = str(error).strip() or type(error).__name__
    return without_passwords(text.splitlines()[0])


def server_of(tracking_uri: str) -> str:
    """A tracking URI without user name and password."""
    scheme, separator, rest = tracking_uri.rpartition("://")
    if not separator or scheme.startswith(("file", "sqlite")):  # a path holds no password
        return tracking_uri
    return f"{scheme}{separator}{rest.partition('?')[0].rpartition('@')[2]}"
