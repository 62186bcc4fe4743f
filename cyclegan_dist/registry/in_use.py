"""What the registered models of an MLflow store were made from. Loads MLflow where a store is asked."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.errors import UsageError
from cyclegan_dist.tracking.sender_state import first_line, server_of


@dataclass(frozen=True)
class InUse:
    """What the versions of all registered models need.

    Attributes:
        digests: of their snapshots.
        cached: names of their folders in the local cache.
        places: local folders that were registered as they are.
        deleted_runs: whether the store has deleted runs.
        needs_deleted: NAME/VERSION of those whose run is deleted.
    """

    digests: frozenset[str] = frozenset()
    cached: frozenset[str] = frozenset()
    places: frozenset[Path] = frozenset()
    deleted_runs: bool = False
    needs_deleted: tuple[str, ...] = ()


def in_use(store: str) -> InUse:
    """Ask the store with the tracking URI `store`.

    Raises:
        UsageError: if it fails.
    """
    from mlflow import MlflowClient
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException
    from mlflow.utils.file_utils import local_file_uri_to_path

    from cyclegan_dist.registry.download import files_of  # these load mlflow
    from cyclegan_dist.registry.versions import DIGEST
    from cyclegan_dist.tracking.mlflow_run import GONE

    client, digests, cached, places = MlflowClient(store), set[str](), set[str](), set[Path]()
    try:
        versions = list(_pages(client.search_model_versions))
        for version in versions:
            digests.add(version.tags.get(DIGEST, ""))
            try:
                name, location, digest, _ = files_of(client, version)
            except MlflowException as error:
                if error.error_code != GONE:
                    raise
                continue  # its files were deleted: no cache entry can be found by its name
            cached.add(name)
            digests.add(digest)
            if "://" not in location or location.startswith("file:"):
                places.add(Path(local_file_uri_to_path(location)).resolve())
        experiments = [found.experiment_id for found in _pages(client.search_experiments, view_type=ViewType.ALL)]
        deleted = {
            run.info.run_id
            for run in _pages(client.search_runs, experiment_ids=experiments, run_view_type=ViewType.DELETED_ONLY)
        }
    except (MlflowException, OSError) as error:
        raise UsageError(f"{server_of(store)}: {first_line(error)}") from error
    needs = sorted(f"{version.name}/{version.version}" for version in versions if version.run_id in deleted)
    return InUse(frozenset(digests - {""}), frozenset(cached), frozenset(places), bool(deleted), tuple(needs))


def _pages(search: Any, **arguments: Any) -> Iterator[Any]:
    """All results of a search that returns them in pages."""
    page = search(**arguments)
    yield from page
    while page.token:
        page = search(**arguments, page_token=page.token)
        yield from page
