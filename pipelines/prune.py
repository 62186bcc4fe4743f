"""Free disk space: remove what finished runs do not need any more.

    python -m pipelines.prune [RUNS_DIR] [--yes] [--all-checkpoints]

Without --yes it lists what would be removed, with sizes and reasons, and changes nothing. With --yes it removes the
same. Of finished runs these go: checkpoints but the newest and that of the best snapshot; snapshots but the newest, the
best, and those that a run names or a model in MLflow was registered from. Of runs that do not run: drafts of killed
processes. Also data sets that `data.A` and `data.B` were prepared into and no run names and, without RUNS_DIR,
downloaded models that no registered version needs. Nothing outside of RUNS_DIR, behind a link or in use is touched.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.config.config import home
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.tracking.quantities import size


@dataclass(frozen=True)
class Prune:
    """Free disk space: remove what finished runs do not need any more."""

    runs_dir: tyro.conf.Positional[Path | None] = None
    """Folder of run folders, or the folder of one. Default: runs, and the downloaded models."""
    yes: bool = False
    """Remove what is listed."""
    all_checkpoints: bool = False
    """Also the last checkpoints of finished runs: they can then not be extended, nor promoted --with-state."""


def main() -> int:
    """Read the command line, and list or remove. Returns the exit code: 1 if something could not be removed."""
    command = parse_options(Prune, "prune", __doc__)
    given = command.runs_dir or home() / "runs"
    if not given.is_dir():
        raise UsageError(f"{given} is not a folder: give the --runs_dir of the trainings")
    from cyclegan_dist.operations.prune.prune import parts_of  # loads what reads runs
    from cyclegan_dist.operations.prune.removal import Pruning

    pruning, folder, total, count = Pruning(), given.resolve(), 0, 0
    with_models = command.runs_dir is None
    parts = list(parts_of(folder, pruning, all_checkpoints=command.all_checkpoints, with_models=with_models))
    for one in pruning.removed(parts) if command.yes else pruning.listed(parts):
        shown = given / one.path.relative_to(folder) if one.path.is_relative_to(folder) else one.path
        print(f"{size(one.bytes):>8}  {shown}: {one.reason}", flush=True)
        total, count = total + one.bytes, count + 1
    for note in pruning.notes:
        print(note, file=sys.stderr)
    if not count:
        print(f"nothing {'was' if command.yes else 'can be'} removed")
    elif command.yes:
        print(f"{size(total):>8}  removed")
    else:
        print(f"{size(total):>8}  would be removed: the same command with --yes does it")
    return 1 if pruning.failed else 0


if __name__ == "__main__":
    run_command(main)
