"""Train a run or a model again, and say whether it is equal.

    python -m pipelines.reproduce RUN|SNAPSHOT|models:/NAME@ALIAS [--data DATA] [--out FOLDER] [--run]
    python -m pipelines.reproduce RUN|SNAPSHOT|models:/NAME@ALIAS --compare RUN [--tolerance 1e-3]

Shows what it was made from, then and now: images, commit, versions, device, ranks; and whether it can be reproduced bit
for bit. Writes the configuration, and prints the training's command, which --run runs. With --compare it compares the
result: losses of each step, evaluations, weights. A run's folder needs neither MLflow nor a network. Exit code 1 if it
cannot be reproduced here, or the result is different.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.location import data_path
from cyclegan_dist.errors import UsageError, pipeline_command, run_command, train_command
from cyclegan_dist.registry.sources import refuse_missing_source
from cyclegan_dist.storage.layout import RunFolder

if TYPE_CHECKING:
    from cyclegan_dist.reproduction.origin import Origin


@dataclass(frozen=True)
class Reproduce:
    """Train a run or a model again, and say whether it is equal."""

    source: tyro.conf.Positional[str]
    """Folder of a run, whose newest snapshot is taken, or of a snapshot in one; or models:/NAME@ALIAS."""
    data: str = ""
    """The same data set, where it is now. Empty: where it was."""
    out: str = ""
    """Folder for the configuration and the report. Empty: reproduce-NAME."""
    run: bool = False
    """Run the training, and compare its result."""
    compare: str = ""
    """Folder of the run, or of its snapshot, that was trained again: compare it."""
    tolerance: float = 1e-3
    """Relative distance of the weights up to which they count as equal but for rounding."""
    json: bool = False
    """Print everything as one JSON object."""


def main() -> int:
    """Read the command line, and reproduce or compare."""
    command = parse_options(Reproduce, "reproduce", __doc__)
    for source in filter(None, (command.source, command.compare)):
        refuse_missing_source(source)
    if command.compare and (command.run or command.data or command.out):
        raise UsageError("--compare compares what was trained: leave out --run, --data and --out")
    if not 0 <= command.tolerance < 1:
        raise UsageError(f"--tolerance {command.tolerance:g}: give a number from 0 on, below 1")
    if command.data:
        data_path(command.data)
    from cyclegan_dist.reproduction.origin import open_origin

    origin = open_origin(command.source)
    if command.compare:
        return _compare(command, origin, command.compare)
    return _prepare(command, origin)


def _prepare(command: Reproduce, origin: "Origin") -> int:
    from cyclegan_dist.reproduction import prepared  # these load torch
    from cyclegan_dist.reproduction.conditions import conditions_of, verdict

    found = conditions_of(origin, command.data)
    said, folder = verdict(found), Path(command.out or f"reproduce-{origin.name}")
    words = prepared.arguments_of(origin, folder)
    told = f"{train_command()} {prepared.quoted(words)}"
    facts = {"source": command.source, "images_seen": origin.nimg, "verdict": said, "command": told}
    facts |= {"conditions": [asdict(one) for one in found]}
    impossible = any(one.state == "missing" for one in found)
    run_dir = prepared.run_dir_of(origin)
    if command.run and RunFolder(run_dir).snapshot(origin.nimg).is_dir():
        raise UsageError(
            f"{run_dir} was trained before: compare it with --compare {run_dir}, or move it away, to train it again"
        )
    if not impossible:
        prepared.write(origin, folder, facts, command.data)
    if command.json:
        print(json.dumps(facts, indent=1))
    else:
        console = Console()
        table = Table("", "then", "now", "", "", box=None)
        for one in found:
            table.add_row(*map(Text, (one.name, one.then or "-", one.now or "-", one.state, one.effect)))
        console.print(table, soft_wrap=not console.is_terminal)
        print(f"{origin.name}, {origin.nimg} images: {said}")
    if impossible:
        return 1
    if not command.run:
        if not command.json:
            print(f"train it again:  {told}")
            print(f"then compare:    {pipeline_command('reproduce')} {command.source} --compare {run_dir}")
        return 0
    sys.stdout.flush()
    if code := subprocess.run([sys.executable, "-m", "cyclegan_dist.train", *words], check=False).returncode:
        return code
    return _compare(command, origin, str(run_dir))


def _compare(command: Reproduce, origin: "Origin", again: str) -> int:
    from cyclegan_dist.reproduction.equality import compare  # these load torch
    from cyclegan_dist.reproduction.origin import open_origin, same_snapshot

    other = open_origin(same_snapshot(origin, again))
    if other.snapshot.folder.resolve() == origin.snapshot.folder.resolve():
        raise UsageError(f"--compare {again} is {command.source} itself: give the run that was trained again")
    found = compare(origin, other, command.tolerance)
    if command.json:
        print(json.dumps(found.facts, indent=1))
    else:
        print("\n".join(found.lines))
        print(f"{command.source} and {again}: {found.outcome}")
    return 1 if found.outcome == "different" else 0


if __name__ == "__main__":
    run_command(main)
