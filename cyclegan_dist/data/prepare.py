"""Preparation of a data set: images of two domains, encoded by several processes, to shards and a manifest."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cyclegan_dist.data.config import VALIDATION
from cyclegan_dist.data.domain_files import DomainFiles, domain_files
from cyclegan_dist.data.domain_names import domain_label
from cyclegan_dist.data.dropping import drop_duplicates
from cyclegan_dist.data.encode import EncodedImage, Half, Reading, encode_file
from cyclegan_dist.data.files import printable
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.data.picture import UnreadableImageError
from cyclegan_dist.data.plan import DOMAINS
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.ranges import FoundValues, choose_range, find_values, samples_of_each
from cyclegan_dist.data.shards import shuffled, write_dataset
from cyclegan_dist.data.summary import Summary
from cyclegan_dist.data.validation import content_hash, held_out
from cyclegan_dist.errors import UsageError

CITYSCAPES = {"A": "_leftImg8bit.png", "B": "_gtFine_color.png"}  # ends of the names of its photos and colour maps
PUBLISHED_SIDE = 256  # pixels that the published script stretches Cityscapes to
CHUNK = 512  # images that are encoded ahead of writing
Report = Callable[[str], object]
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]


def prepare(
    config: PrepareConfig,
    report: Report = lambda line: print(line, file=sys.stderr),
    progress: Progress = lambda results, folder, total: results,
    palette: Palette | None = None,
) -> Path:
    """Prepare a data set. The same folders give the same bytes.

    Args:
        config: the folders and options.
        report: called with a line for each file that is changed or, for the first of each reason, left out; then with
            one for the others of that reason, and one for each kind of conversion.
        progress: wraps the `total` results for a folder, as `rich.progress.track` does.
        palette: the one that `config.palette_name` names, if it names one.

    Returns:
        The manifest's path.

    Raises:
        UsageError: for a folder without images, too many bad ones, an OUT that cannot be used, values of more than 8
            bits whose black or white must be given, or label maps of other colours than the palette's.
    """
    config.refuse_paths()
    if bool(config.palette_name) != (palette is not None):
        raise ValueError("give prepare() the palette of the config, and none if it names none")
    if palette is not None and config.pairs == "cityscapes" and palette.domain != "B":
        raise UsageError("--pairs cityscapes: label maps are domain B, so the palette must have domain: B")
    with domain_files(config, report) as files:
        return _prepare(config, files, report, progress, palette)


def _prepare(
    config: PrepareConfig, files: Mapping[str, DomainFiles], report: Report, progress: Progress, palette: Palette | None
) -> Path:
    names = {domain: _names(config, domain, files[domain], report) for domain in DOMAINS}
    if config.pairs != "none":
        _refuse_unpaired(config, names)
    with _processes(config.workers or os.cpu_count()) as pool:
        readings = {
            domain: _reading(pool, config, domain, files[domain], names[domain], progress, palette)
            for domain in DOMAINS
        }
        for options in config.unused_levels([d for d in DOMAINS if readings[d].values is None]):
            report(f"{options} does not count: no readable image there has more than 8 bits")
        if config.dedup or config.exclude:
            names = drop_duplicates(pool, config, readings, files, names, report, progress)
        summaries = {
            domain: Summary(domain_label(domain, config.domain_names), reading) for domain, reading in readings.items()
        }

        def encoded(names: Mapping[str, list[str]]) -> dict[str, Iterator[EncodedImage]]:
            return {
                domain: summaries[domain].of(
                    _encoded(pool, config, readings[domain], domain, files[domain], names[domain], report, progress)
                )
                for domain in DOMAINS
            }

        parts: dict[str, dict[str, list[str]]] = {}
        if config.validation:
            taken = _held_out(pool, config, readings, files, names, progress)
            parts[VALIDATION] = {domain: sorted(taken[domain]) for domain in DOMAINS}
            names = {domain: [name for name in names[domain] if name not in taken[domain]] for domain in DOMAINS}
        path = write_dataset(
            encoded(names),
            config.out,
            parts={part: encoded(held) for part, held in parts.items()},
            samples_per_shard=config.samples_per_shard,
            overwrite=config.overwrite,
            paired="some" if config.pairs == "some" else config.pairs != "none",
            values={domain: reading.values for domain, reading in readings.items()},
            bands={domain: reading.bands for domain, reading in readings.items()},
            domain_names=config.domain_names,
            energon=config.energon,
        )
    for summary in summaries.values():
        for line in summary.lines():
            report(line)
    return path


@contextmanager
def _processes(count: int | None) -> Iterator[ProcessPoolExecutor]:
    """Processes that read and encode. They end after what they are doing if an error ends the preparation."""
    with ProcessPoolExecutor(count, initializer=_start_process) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the first process ends them
    torch.set_num_threads(1)


def _held_out(
    pool: ProcessPoolExecutor,
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
        found = progress(pool.map(work, names[domain], chunksize=8), what, len(names[domain]))
        hashes[domain] = dict(zip(names[domain], found, strict=True))
    pairs = {
        (domain, name): str(Path(_stored_name(config, domain, name)).with_suffix(""))
        for domain in names
        for name in names[domain]
        if config.pairs != "none"
    }
    return held_out(hashes, pairs, config.validation, config.seed)


def _reading(
    pool: ProcessPoolExecutor,
    config: PrepareConfig,
    domain: str,
    files: DomainFiles,
    names: list[str],
    progress: Progress,
    palette: Palette | None,
) -> Reading:
    """How a domain's files are read: first without, then with its value range."""
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
    chunksize = max(1, min(64, len(names) // (4 * (config.workers or os.cpu_count() or 1))))
    found: Iterable[FoundValues | None] = progress(
        pool.map(work, names, chunksize=chunksize), f"values of {files.given}", len(names)
    )
    return replace(reading, values=choose_range(domain, found, black, white))


def _refuse_unpaired(config: PrepareConfig, names: dict[str, list[str]]) -> None:
    a, b = (
        Counter(str(Path(_stored_name(config, domain, name)).with_suffix("")) for name in names[domain])
        for domain in "AB"
    )
    if config.pairs == "some":
        if several := sorted(name for name in a & b if max(a[name], b[name]) > 1):
            raise UsageError(
                f"--pairs some: {printable(several[0])} has several partners with its name "
                f"({len(several)} such names): remove or rename them"
            )
        if not a & b:
            raise UsageError("--pairs some: no name of A_DIR is also one of B_DIR: give both images of a pair one name")
        return
    if alone := sorted((a - b) | (b - a) | Counter(name for name in a if a[name] > 1)):
        raise UsageError(
            f"--pairs {config.pairs}: {printable(alone[0])} has no partner with its name, or several "
            f"({len(alone)} such names): remove or rename them"
            + (", or give --pairs some" if config.pairs == "names" else "")
        )


def _stored_name(config: PrepareConfig, domain: str, name: str) -> str:
    """The name that the data set has for a file: partners have the same one, except for its extension."""
    return name.removesuffix(CITYSCAPES[domain]) + ".png" if config.pairs == "cityscapes" else name


def _names(config: PrepareConfig, domain: str, files: DomainFiles, report: Report) -> list[str]:
    """The images to take of a domain; reports which kinds of files are skipped."""
    if config.pairs == "cityscapes":
        names = [name for name in files.names if name.endswith(CITYSCAPES[domain])]
        part = {"A": "leftImg8bit", "B": "gtFine"}[domain]
        if not names or any(Path(name).parts[0] in ("train", "val", "test") for name in names):
            raise UsageError(
                f"{files.given} is no part of Cityscapes with files *{CITYSCAPES[domain]}: give {part}/train or "
                f"{part}/val"
            )
        return names
    if files.skipped:
        kinds = ", ".join(f"{n} with {kind}" for kind, n in files.skipped.most_common(5))
        report(f"skipped in {printable(files.given)}, not images by their names: {kinds}")
    return files.names


def _encoded(
    pool: ProcessPoolExecutor,
    config: PrepareConfig,
    reading: Reading,
    domain: str,
    files: DomainFiles,
    names: list[str],
    report: Report,
    progress: Progress,
) -> Iterator[EncodedImage]:
    """The readable images of a domain in shard order; unreadable ones are reported.

    Raises:
        UsageError: after the last image, if too many are unreadable.
    """
    bad: Counter[str] = Counter()  # by reason
    order = shuffled(names, config.seed)
    work = partial(_try_encode, files.folder, reading)
    # One chunk at a time limits the encoded images in memory, and the work that is left to finish after an error.
    chunks = (order[start : start + CHUNK] for start in range(0, len(order), CHUNK))
    results = (image for chunk in chunks for image in pool.map(work, chunk, chunksize=8))
    for image in progress(results, files.given, len(order)):
        if isinstance(image, EncodedImage):
            if image.note:
                report(f"{image.note}: {files.shown(image.name)}")
            yield replace(image, name=_stored_name(config, domain, image.name))
        else:
            reason = files.unreadable.get(image.name, image.reason)
            if not bad[reason]:
                report(f"left out {files.shown(image.name)}: {reason}")
            bad[reason] += 1
    for reason, count in bad.items():
        if count > 1:
            report(f"left out {count - 1:,} more of {printable(files.given)}: {reason}")
    if not bad:
        return
    total, (most, count) = bad.total(), bad.most_common(1)[0]
    cause = f"{most}" if count == total else f"{count} of them: {most}"
    if config.pairs not in ("none", "some"):
        raise UsageError(
            f"{total} images in {files.given} cannot be used ({cause}), so their partners have none: remove the pairs"
        )
    if total > config.max_bad_fraction * len(names):
        raise UsageError(
            f"{total} of {len(names)} images in {files.given} cannot be used ({cause}): repair or remove them, "
            f"or raise --max-bad-fraction {config.max_bad_fraction}"
        )


@dataclass(frozen=True)
class _BadFile:
    """A file that cannot be used, and why."""

    name: str
    reason: str


def _try_encode(folder: Path, reading: Reading, name: str) -> EncodedImage | _BadFile:
    try:
        return encode_file(folder, name, reading)
    except UnreadableImageError as error:
        return _BadFile(name, str(error))
