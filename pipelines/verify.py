"""Verify that a data set is what its manifest says.

    python -m pipelines.verify MANIFEST [--against OTHER ...] [--decode]

MANIFEST is the folder or URL of a data set. The sha256 of every shard is compared, and samples that are damaged are
named. Images that are in it twice, or in both domains, are listed; they are not errors. Of a data set that was made
with `prepare --append` the versions before are listed, to the first one or to one that is not what was recorded. With
--against, the images of OTHER that are in it too (test images among training images) are counted and listed. Ends with
0 if every byte and every earlier version is as recorded and no image is in another data set too, else with 1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro
from rich.console import Console
from rich.progress import track

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.location import data_path
from cyclegan_dist.errors import run_command

if TYPE_CHECKING:
    from cyclegan_dist.data.manifest import Manifest

SHOWN = 20  # groups of identical images


@dataclass(frozen=True)
class Verify:
    """Verify that a data set is what its manifest says."""

    manifest: tyro.conf.Positional[str]
    """Folder or URL of the data set."""
    against: tuple[str, ...] = ()
    """Other data sets, of which no image may be in this one."""
    decode: bool = False
    """Decode every image as well."""
    workers: int = 4
    """Shards that are read at once."""


def main() -> int:
    """Read the command line, verify, and print what was found. Returns 1 if a shard is damaged, an earlier version is
    not as recorded, or an image is in another data set too.
    """
    command = parse_options(Verify, "verify", __doc__)
    paths = [data_path(path) for path in (command.manifest, *command.against)]
    from cyclegan_dist.data.domain_names import legend
    from cyclegan_dist.data.manifest import READING, open_manifest  # loads pyarrow

    manifests = [open_manifest(path, (*READING, "name")) for path in paths]
    manifest = manifests[0]
    from cyclegan_dist.data.verify import check_shards, identical, in_both_domains, shared  # loads torch
    from cyclegan_dist.data.versions import earlier_versions

    console = Console(stderr=True)
    checks = check_shards(manifest, decoding=command.decode, workers=command.workers)
    done = track(checks, "verify", len(manifest.shards), console=console, disable=not console.is_terminal)
    problems = sorted(line for lines in done for line in lines)
    for line in problems:
        print(line)
    groups = list(identical(manifests[:1]))
    for names in groups[:SHOWN]:
        print(f"identical: {', '.join(names)}")
    if len(groups) > SHOWN:
        print(f"... and {len(groups) - SHOWN} more groups of identical images")
    if both := in_both_domains(manifest):
        print(f"{both} images are in both domains of {manifest.root}")
    leaked = 0
    for other in manifests[1:]:
        found = shared(manifest, other)
        for name, names in found:
            print(f"{other.root} {name} is in {manifest.root} as {', '.join(names)}")
        print(f"{len(found)} of the {sum(other.samples.values())} images of {other.root} are in {manifest.root} too")
        leaked += len(found)
    broken = 0
    if manifest.parent is not None:
        print(f"version: {_described(manifest)}")
    for link in earlier_versions(manifest):
        broken += bool(link.problem)
        described = (
            f"{link.place} {link.problem}" if link.manifest is None or link.problem else _described(link.manifest)
        )
        print(f"version before: {described}")
    if text := legend(manifest.domain_names):
        print(f"domains: {text}")
    counts = f"{len(manifest.shards)} shards, {sum(manifest.samples.values())} samples"
    print(f"{counts}: {len(problems)} damaged shards" if problems else f"{counts}: every byte is as recorded")
    return int(bool(problems or leaked or broken))


def _described(manifest: "Manifest") -> str:
    """Where a version is, and the digests by which journals, MLflow and cards of runs name their data."""
    domains = ", ".join(
        f"{samples} images of {domain} sha256 {manifest.domain_digest(domain)[:12]}"
        for domain, samples in manifest.samples.items()
    )
    return f"{manifest.root}, manifest {manifest.digest[:12]}: {domains}"


if __name__ == "__main__":
    run_command(main)
