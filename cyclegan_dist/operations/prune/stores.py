"""The MLflow stores of runs, asked once which models are registered there."""

from collections.abc import Callable
from pathlib import Path

from cyclegan_dist.errors import UsageError
from cyclegan_dist.registry.in_use import InUse, in_use
from cyclegan_dist.registry.sources import is_missing, use_store
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.sender_state import SenderState, server_of


class Stores:
    """MLflow stores by their URI. `note` takes what cannot be asked, and what is left to MLflow."""

    def __init__(self, note: Callable[[str], None]):
        self.default, self._note = use_store(), note
        self._asked: dict[str, InUse | None] = {}

    def of_run(self, run_dir: Path) -> InUse | None:
        """What is registered in the store of a run; None if that is not known."""
        kept = SenderState.read(run_dir).store
        if not kept and RunFolder(run_dir).sender_state.exists():
            self._note(f"{RunFolder(run_dir).sender_state} is damaged: snapshots of this run are kept")
            return None
        uri = self.default if not kept or kept == server_of(self.default) else kept
        if not kept and is_missing(uri):
            return InUse()  # nothing was ever sent
        return self.at(uri)

    def at(self, uri: str) -> InUse | None:
        """What is registered in the store at `uri`; None if it cannot be asked."""
        if uri not in self._asked:
            try:
                self._asked[uri] = self._ask(uri)
            except (UsageError, ModuleNotFoundError) as error:
                self._asked[uri] = None
                self._note(f"MLflow cannot be asked which models are registered, so snapshots are kept: {error}")
        return self._asked[uri]

    def _ask(self, uri: str) -> InUse:
        if is_missing(uri):
            raise UsageError(f"there is no store at {server_of(uri)}")
        found = in_use(uri)
        if found.deleted_runs:
            needed = ", ".join(found.needs_deleted)
            self._note(
                f"MLflow at {server_of(uri)} has deleted runs, whose files `mlflow gc` removes"
                f"{f', also those of {needed}: restore these runs first' if needed else ''}"
            )
        return found
