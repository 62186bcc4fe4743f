"""Finds and removes what the runs in a folder do not need any more."""

from collections.abc import Iterator
from pathlib import Path

from cyclegan_dist.config.config import home
from cyclegan_dist.operations.prune.named import named_in
from cyclegan_dist.operations.prune.of_run import RunFiles
from cyclegan_dist.operations.prune.removal import Part, Pruning, is_inside
from cyclegan_dist.operations.prune.shared import data_sets, downloaded_models
from cyclegan_dist.operations.prune.stores import Stores
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.overview import find_runs
from cyclegan_dist.tracking.sender_state import SenderState


def parts_of(folder: Path, pruning: Pruning, *, all_checkpoints: bool, with_models: bool) -> Iterator[Part]:
    """The parts of a folder of runs, or of one run.

    Args:
        folder: resolved.
        pruning: takes notes of what is left alone.
        all_checkpoints: also the last checkpoints of finished runs.
        with_models: also models that were downloaded to the folder of `home`.

    Raises:
        OSError: if the folder cannot be read.
    """
    stores, runs = Stores(pruning.note), list(find_runs(folder))
    roots = [folder]
    while _is_run(roots[-1]):
        roots.append(roots[-1].parent)
    named = named_in({*roots, (home() / "runs").resolve()})
    for name, path in runs:
        if is_inside(path, folder) or path == folder:
            yield RunFiles(name, path, named, stores, all_checkpoints, pruning.note).part()
        else:
            pruning.note(f"{name} is left alone: it is a link")
    if [path for _, path in runs] != [folder]:
        sweeps = [path.parent for path in folder.glob(f"*/{RunFolder(Path()).sweep_journal}")]
        for runs_dir in (folder, *(path for path in sweeps if is_inside(path, folder))):
            yield from data_sets(runs_dir, named, pruning.note)
    if with_models:
        uris = {stores.default, *filter(None, (SenderState.read(path).store for _, path in runs))}
        yield from downloaded_models((home() / "models").resolve(), named, stores, uris)


def _is_run(path: Path) -> bool:
    """Whether it is the folder of a run or a sweep, which others beside it may name."""
    return RunFolder(path).config.exists() or RunFolder(path).journal.exists()
