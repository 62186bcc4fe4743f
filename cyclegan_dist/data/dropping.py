"""Images that are not prepared: duplicates within a domain, and those that another data set or folder has too."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from cyclegan_dist.data.domain_files import DomainFiles, excluded
from cyclegan_dist.data.duplicates import (
    Duplicate,
    Fingerprint,
    as_stored,
    find_duplicates,
    fingerprint,
    fingerprint_of,
    stored_fingerprint,
)
from cyclegan_dist.data.encode import Reading
from cyclegan_dist.data.manifest import READING, Manifest, open_manifest
from cyclegan_dist.data.plan import DOMAINS
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.data.workers import Workers
from cyclegan_dist.errors import UsageError


def drop_duplicates(
    workers: Workers,
    config: PrepareConfig,
    readings: Mapping[str, Reading],
    files: Mapping[str, DomainFiles],
    names: Mapping[str, list[str]],
    parents: Sequence[Manifest],
    report: Callable[[str], object],
    progress: Callable[[Iterable[Any], str, int], Iterable[Any]],
) -> dict[str, list[str]]:
    """The names that are left of each domain after `config.dedup` and `config.exclude`. Reports each image that is
    dropped, and how many.

    Raises:
        UsageError: if none is left, or another data set cannot be read.
    """
    left: dict[str, list[str]] = {}
    for domain in DOMAINS:
        work = partial(fingerprint, files[domain].folder, readings[domain])
        what, total = f"fingerprints of {files[domain].given}", len(names[domain])
        found = [one for one in progress(workers.map(work, names[domain]), what, total) if one is not None]
        gone: set[str] = set()
        for given in config.excluded:
            others = list(_others(workers, given, files, replace(readings[domain], half="")))
            duplicates = find_duplicates([one for one in found if one.name not in gone], others)
            for one in duplicates:
                report(f"excluded {_found(one, files[domain])} {one.of}")
            gone |= {one.name for one in duplicates}
            report(f"{domain}: {len(duplicates)} of {total} images excluded, which are in {given} too")
        stored = []
        if config.dedup and parents:
            work = partial(stored_fingerprint, files[domain].folder, readings[domain])
            some = [one.name for one in found if one.name not in gone]
            what = f"stored images of {files[domain].given}"
            stored = [one for one in progress(workers.map(work, some), what, len(some)) if one is not None]
        for parent in parents if config.dedup else ():
            others = list(_stored(workers, parent, domain, as_stored(readings[domain])))
            duplicates = find_duplicates([one for one in stored if one.name not in gone], others)
            for one in duplicates:
                report(f"dropped {_found(one, files[domain])} {one.of}")
            gone |= {one.name for one in duplicates}
            report(f"{domain}: {len(duplicates)} of {total} images dropped, which {parent.root} has")
        if config.dedup:
            duplicates = find_duplicates([one for one in found if one.name not in gone])
            for one in duplicates:
                report(f"dropped {_found(one, files[domain])} {files[domain].shown(one.of)}")
            gone |= {one.name for one in duplicates}
            exact = sum(one.exact for one in duplicates)
            report(
                f"{domain}: {len(duplicates)} duplicates dropped, {exact} with the same pixels and "
                f"{len(duplicates) - exact} nearly the same"
            )
        left[domain] = [name for name in names[domain] if name not in gone]
        if not left[domain] and not parents:
            raise UsageError(f"no image of {files[domain].given} is left: all are in {config.exclude} too")
    return left


def _found(one: Duplicate, files: DomainFiles) -> str:
    """A duplicate and how it is like another image, which a report names after it."""
    return f"{files.shown(one.name)}: {'the same pixels as' if one.exact else 'nearly the same image as'}"


def _others(workers: Workers, given: str, files: Mapping[str, DomainFiles], reading: Reading) -> Iterator[Fingerprint]:
    """The images of a data set or folder that is excluded, each named by where it is."""
    if (folder := files.get(excluded(given))) is not None:
        for one in workers.map(partial(fingerprint, folder.folder, reading), folder.names):
            if one is not None:
                yield replace(one, name=folder.shown(one.name))
        return
    manifest = open_manifest(given, (*READING, "name"))
    for domain in DOMAINS:
        yield from _stored(workers, manifest, domain, reading)


def _stored(workers: Workers, manifest: Manifest, domain: str, reading: Reading) -> Iterator[Fingerprint]:
    """The images of a domain of a data set, each named by where it is."""
    reader = ShardReader(manifest, domain)
    names = (f"{manifest.root} {domain}/{name}" for name in manifest.domains[domain]["name"].to_pylist())
    samples = ((reader.read(index), name) for index, name in enumerate(names))
    found = workers.map(partial(_fingerprint_of_sample, reading), samples)
    yield from (one for one in found if one is not None)


def _fingerprint_of_sample(reading: Reading, sample: tuple[bytes, str]) -> Fingerprint | None:
    return fingerprint_of(reading, *sample)
