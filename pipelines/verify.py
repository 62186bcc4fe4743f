"""Check that a data set is what its manifest promises: the sha256 of every shard, and which samples are hurt.

    python -m pipelines.verify MANIFEST [--against OTHER ...] [--decode]

MANIFEST is the folder or URL of a data set. Images that are in it twice, or in another data set as well (test images
among training images), are listed; they are no error. Ends with 0 if every byte is as promised, else with 1.
"""

from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import tyro
from rich.console import Console
from rich.progress import track

from cyclegan_dist.data.manifest import READING, Manifest, open_manifest
from cyclegan_dist.data.verify import check_shard, identical, samples_by_shard
from cyclegan_dist.errors import run_command

CONSOLE = Console(stderr=True)
SHOWN = 20  # groups of identical images


@dataclass(frozen=True)
class Verify:
    """Check that a data set is what its manifest promises."""

    manifest: tyro.conf.Positional[str]
    """Folder or URL of the data set."""
    against: tuple[str, ...] = ()
    """Other data sets, whose images should not be in this one."""
    decode: bool = False
    """Decode every image as well."""
    workers: int = 4
    """Shards that are read at once."""


def verify(command: Verify) -> list[str]:
    """Read everything. Returns a line for each damaged shard."""
    manifest = open_manifest(command.manifest)
    shards = samples_by_shard(manifest)
    problems = []
    with ThreadPoolExecutor(max(1, command.workers)) as pool:
        work = [
            pool.submit(check_shard, manifest, shard, *samples, decoding=command.decode)
            for shard, samples in shards.items()
        ]
        done = track(as_completed(work), "verify", len(work), console=CONSOLE, disable=not CONSOLE.is_terminal)
        for future in done:
            problems += future.result()
    return sorted(problems)


def _tell_identical(manifests: list[Manifest]) -> None:
    groups = list(identical(manifests))
    for names in groups[:SHOWN]:
        print(f"identical: {', '.join(names)}")
    if len(groups) > SHOWN:
        print(f"... and {len(groups) - SHOWN} more groups of identical images")


def main() -> int:
    """Read the command line, verify, and say what was found."""
    command = tyro.cli(Verify, prog="python -m pipelines.verify", description=__doc__)
    problems = verify(command)
    for line in problems:
        print(line)
    named = (*READING, "name")
    _tell_identical([open_manifest(path, named) for path in (command.manifest, *command.against)])
    manifest = open_manifest(command.manifest, ())
    counts = f"{len(manifest.shards)} shards, {sum(manifest.samples.values())} samples"
    print(f"{counts}: {len(problems)} damaged shards" if problems else f"{counts}: every byte is as promised")
    return int(bool(problems))


if __name__ == "__main__":
    run_command(main)
