"""Preparation of a data set: images of two domains, encoded by several processes, to shards and a manifest."""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cyclegan_dist.data.config import MANIFEST, VALIDATION
from cyclegan_dist.data.domain_files import DomainFiles, domain_files
from cyclegan_dist.data.domain_names import domain_label
from cyclegan_dist.data.drafts import claim
from cyclegan_dist.data.dropping import drop_duplicates
from cyclegan_dist.data.encode import Half, Reading
from cyclegan_dist.data.encoding import DomainImages
from cyclegan_dist.data.inputs import inputs_key
from cyclegan_dist.data.location import is_url
from cyclegan_dist.data.manifest import Manifest
from cyclegan_dist.data.pairing import image_names, pair_name, refuse_unpaired
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.data.plan import DOMAINS
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.ranges import FoundValues, choose_range, find_values, samples_of_each
from cyclegan_dist.data.shards import shuffled, write_dataset
from cyclegan_dist.data.summary import Summary
from cyclegan_dist.data.validation import content_hash, held_out
from cyclegan_dist.data.versions import (
    open_parents,
    reduced_side,
    refuse_names,
    refuse_other_palette,
    same_range,
    version_of,
)
from cyclegan_dist.data.workers import OpenWorkers, Workers, local_workers, refuse_unseen
from cyclegan_dist.errors import UsageError

PUBLISHED_SIDE = 256  # pixels that the published script stretches Cityscapes to
Report = Callable[[str], object]
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]


def prepare(
    config: PrepareConfig,
    report: Report = lambda line: print(line, file=sys.stderr),
    progress: Progress = lambda results, folder, total: results,
    palette: Palette | None = None,
    workers: OpenWorkers = local_workers,
) -> Path:
    """Prepare a data set in a folder, as `prepare_at`.

    Returns:
        The manifest's path.

    Raises:
        UsageError: as `prepare_at`, and for a URL.
    """
    if is_url(config.out):
        raise UsageError(f"{config.out} is a URL: give a folder")
    return Path(prepare_at(config, report, progress, palette, workers), MANIFEST)


def prepare_at(
    config: PrepareConfig,
    report: Report = lambda line: print(line, file=sys.stderr),
    progress: Progress = lambda results, folder, total: results,
    palette: Palette | None = None,
    workers: OpenWorkers = local_workers,
) -> str:
    """Prepare a data set in a folder or at a URL. The same folders give the same bytes, also if it is interrupted and
    called again, which goes on after the shards that are complete.

    Args:
        config: the folders and options.
        report: called with a line for each file that is changed or, for the first of each reason, left out; then with
            one for the others of that reason, and one for each kind of conversion.
        progress: wraps the `total` results for a folder, as `rich.progress.track` does.
        palette: the one that `config.palette_name` names, if it names one.
        workers: starts the processes that read and encode.

    Returns:
        The folder or URL.

    Raises:
        UsageError: for a folder without images, too many bad ones, an OUT that cannot be used or that another process
            prepares, values of more than 8 bits whose black or white must be given, or label maps of other colours
            than the palette's.
    """
    config.refuse_paths()
    if bool(config.palette_name) != (palette is not None):
        raise ValueError("give prepare() the palette of the config, and none if it names none")
    if palette is not None and config.pairs == "cityscapes" and palette.domain != "B":
        raise UsageError("--pairs cityscapes: label maps are domain B, so the palette must have domain: B")
    parents = open_parents(config.append)
    if parents:
        config = version_of(config, parents[""])
        refuse_other_palette(parents[""], palette)
    with claim(config.out), domain_files(config, report) as files:
        _prepare(config, files, parents, report, progress, palette, workers)
    return str(config.out).rstrip("/") if is_url(config.out) else str(config.out)


def _prepare(
    config: PrepareConfig,
    files: Mapping[str, DomainFiles],
    parents: Mapping[str, Manifest],
    report: Report,
    progress: Progress,
    palette: Palette | None,
    open_workers: OpenWorkers,
) -> None:
    names = {domain: image_names(config, domain, files[domain], report) for domain in DOMAINS}
    if config.pairs != "none":
        refuse_unpaired(config, names)
        for parent in parents.values():
            for domain in DOMAINS:
                refuse_names(config, parent, domain, names[domain])
    key = inputs_key(config, files, palette, parents)
    with open_workers(config.workers) as workers:
        refuse_unseen(workers, {files[d].given: files[d].folder / names[d][0] for d in DOMAINS if names[d]})
        readings = {
            domain: _reading(workers, config, domain, files[domain], names[domain], parents.get(""), progress, palette)
            for domain in DOMAINS
        }
        for options in config.unused_levels([d for d in DOMAINS if readings[d].values is None]):
            report(f"{options} does not count: no readable image there has more than 8 bits")
        if config.dedup or config.exclude:
            names = drop_duplicates(workers, config, readings, files, names, list(parents.values()), report, progress)
        sides = {domain: reduced_side(parents[""], domain) for domain in DOMAINS if parents}
        summaries = {
            domain: Summary(domain_label(domain, config.domain_names), reading, sides.get(domain))
            for domain, reading in readings.items()
        }

        def images(names: Mapping[str, list[str]]) -> dict[str, DomainImages]:
            return {
                domain: DomainImages(
                    workers,
                    config,
                    readings[domain],
                    domain,
                    files[domain],
                    shuffled(names[domain], config.seed),
                    summaries[domain],
                    report,
                    progress,
                )
                for domain in DOMAINS
            }

        parts: dict[str, dict[str, list[str]]] = {}
        if config.validation:
            taken = _held_out(workers, config, readings, files, names, progress)
            parts[VALIDATION] = {domain: sorted(taken[domain]) for domain in DOMAINS}
            names = {domain: [name for name in names[domain] if name not in taken[domain]] for domain in DOMAINS}
        elif VALIDATION in parents:
            parts[VALIDATION] = {domain: [] for domain in DOMAINS}
        write_dataset(
            images(names),
            config.out,
            parts={part: images(held) for part, held in parts.items()},
            samples_per_shard=config.samples_per_shard,
            overwrite=config.overwrite,
            paired="some" if config.pairs == "some" else config.pairs != "none",
            values={domain: reading.values for domain, reading in readings.items()},
            bands={domain: reading.bands for domain, reading in readings.items()},
            domain_names=config.domain_names,
            energon=config.energon,
            palette=None if palette is None else palette.to_json(),
            parents=parents,
            key=key,
            report=report,
        )
    for summary in summaries.values():
        for line in summary.lines():
            report(line)


def _held_out(
    workers: Workers,
    config: PrepareConfig,
    readings: Mapping[str, Reading],
    files: Mapping[str, DomainFiles],
    names: Mapping[str, list[str]],
    progress: Progress,
) -> dict[str, set[str]]:
    """The names of each domain that are held out for validation."""
    hashes: dict[str, dict[str, bytes | None]] = {}
    for domain in DOMAINS:
        work = partial(content_hash, files[domain].folder, readings[domain])
        what = f"contents of {files[domain].given}"
        found = progress(workers.map(work, names[domain]), what, len(names[domain]))
        hashes[domain] = dict(zip(names[domain], found, strict=True))
    pairs = {
        (domain, name): pair_name(config, domain, name)
        for domain in names
        for name in names[domain]
        if config.pairs != "none"
    }
    return held_out(hashes, pairs, config.validation, config.seed)


def _reading(
    workers: Workers,
    config: PrepareConfig,
    domain: str,
    files: DomainFiles,
    names: list[str],
    parent: Manifest | None,
    progress: Progress,
    palette: Palette | None,
) -> Reading:
    """How a domain's files are read: first without, then with its value range, or that of the version before."""
    half: Half = "" if config.pairs != "halves" else "left" if domain == "A" else "right"
    square = config.pairs == "cityscapes"
    reading = Reading(
        config.load_size or (PUBLISHED_SIDE if square else None),
        100 if square else config.quality,
        half,
        config.bands_taken(domain),
        config.max_pixels,
        square=square,
    )
    if palette is not None and palette.domain == domain:
        reading = replace(reading, palette=palette)
        if config.full_size_labels:
            reading = replace(reading, load_size=None)
    black, white = config.level("black", domain), config.level("white", domain)
    samples = samples_of_each(len(names)) if any(level and level.percentile for level in (black, white)) else 0
    work = partial(find_values, files.folder, reading, samples)
    chunksize = max(1, min(64, len(names) // (4 * workers.count)))
    found: Iterable[FoundValues | None] = progress(
        workers.map(work, names, chunksize), f"values of {files.given}", len(names)
    )
    if parent is None:
        return replace(reading, values=choose_range(domain, found, black, white))
    given = " and ".join(f"--{end}" for end, level in (("black", black), ("white", white)) if level)
    return replace(reading, values=same_range(parent, domain, list(found), given))
