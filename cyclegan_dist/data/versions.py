"""Versions of a data set that grows: each names the one before, and has its shards."""

import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from cyclegan_dist.data.config import MANIFEST, VALIDATION
from cyclegan_dist.data.files import printable
from cyclegan_dist.data.images import read_image
from cyclegan_dist.data.location import is_at, is_url
from cyclegan_dist.data.manifest import SCHEMA, SOURCE, Manifest, open_manifest
from cyclegan_dist.data.pairing import pair_name
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.data.plan import DOMAINS
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.ranges import FoundValues
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.errors import UsageError


def open_parents(place: str) -> dict[str, Manifest]:
    """The data set at `place` and, if it has one, its part for validation, with all columns, by part; nothing if
    `place` is empty.

    Raises:
        UsageError: as `open_manifest`.
    """
    columns = [*SCHEMA.names, *SOURCE.names]
    return {
        part: open_manifest(root, columns)
        for part in ("", VALIDATION)
        if place and (not part or is_at(f"{place.rstrip('/')}/{part}/{MANIFEST}"))
        for root in [f"{place.rstrip('/')}/{part}".rstrip("/")]
    }


def version_of(config: PrepareConfig, parent: Manifest) -> PrepareConfig:
    """The config with what a new version has from the one before: names, and bands of each domain.

    Raises:
        UsageError: for options that do not fit it.
    """
    if config.domain_names not in ({}, parent.domain_names):
        given, there = (" ".join(names.values()) or "none" for names in (config.domain_names, parent.domain_names))
        raise UsageError(f"--names {given}: {parent.root} has {there}: leave the option out")
    for domain, taken in parent.bands.items():
        given = config.bands_taken(domain)
        if given is not None and list(given) != taken:
            there = "all" if taken in (None, []) else ",".join(map(str, taken or ()))
            raise UsageError(f"--bands of domain {domain}: {parent.root} has {there}: leave the option out")
    pairs = "some" if parent.partly_paired else parent.paired
    if pairs != ("some" if config.pairs == "some" else config.pairs != "none"):
        there = "pairs of some" if pairs == "some" else "pairs" if pairs else "no pairs"
        option = "--pairs some" if pairs == "some" else "--pairs names or halves" if pairs else "no --pairs"
        raise UsageError(f"--append: {parent.root} has {there}: give {option}")
    bands = {
        f"bands_{domain.lower()}": "all" if not taken else ",".join(map(str, taken))
        for domain, taken in parent.bands.items()
        if taken is not None
    }
    names = tuple(parent.domain_names.get(domain, "") for domain in DOMAINS)
    return replace(config, names=names, **bands)


def refuse_other_palette(parent: Manifest, palette: Palette | None) -> None:
    """Check that label maps become what those of the version before are.

    Raises:
        UsageError: if they were prepared with another palette, or only one of both with any.
    """
    given = None if palette is None else palette.to_json()
    if parent.palette is not None and given != parent.palette:
        raise UsageError(
            f"--append: label maps of domain {parent.palette['domain']} of {parent.root} were prepared with a palette "
            f"of {len(parent.palette['classes'])} classes: give the same --palette"
        )
    if palette is not None and parent.palette is None:  # without one, or before it was recorded
        stored = read_image(ShardReader(parent, palette.domain).read(0)).pixels
        if len(stored) != 3 or not torch.equal(stored, palette.snapped(stored)):
            raise UsageError(f"--palette: {parent.root} was prepared without it: leave it out, or prepare all anew")


def refuse_names(config: PrepareConfig, parent: Manifest, domain: str, names: Sequence[str]) -> None:
    """Check that pairs have other names than those of the version before, whose images they would be partners of.

    Raises:
        UsageError: with one.
    """
    known = {pair_name(config, domain, name) for name in parent.domains[domain]["name"].to_pylist()}
    if same := [name for name in names if pair_name(config, domain, name) in known]:
        raise UsageError(
            f"--append: {printable(same[0])} of domain {domain} is also a name in {parent.root} ({len(same)} such "
            "names), and names say which images are partners: rename the new ones"
        )


def reduced_side(parent: Manifest, domain: str) -> int | None:
    """The shorter side, in pixels, that most images of a domain have if none has a longer one, as after --load-size;
    None if it is another one in most.
    """
    table = parent.domains[domain]
    sides = Counter(map(min, table["width"].to_pylist(), table["height"].to_pylist()))
    largest = max(sides, default=0)
    return largest if 2 * sides[largest] > sides.total() else None


def same_range(parent: Manifest, domain: str, found: Sequence[FoundValues | None], given: str) -> ValueRange | None:
    """The value range of a domain's new images, which is that of the version before.

    Args:
        parent: the version before.
        domain: A or B.
        found: the values of the new files.
        given: the options for black and white that count for the domain.

    Raises:
        UsageError: if they have other types, or an option gives another range.
    """
    there = parent.values[domain]
    kinds = {values.dtype: values.name for values in found if values is not None}
    wanted = there.dtype if there is not None else "8 bits"
    if others := {kind: name for kind, name in kinds.items() if there is None or kind != there.dtype}:
        kind, name = next(iter(others.items()))
        raise UsageError(
            f"--append: domain {domain} of {parent.root} has values of {wanted}, and {printable(name)} of {kind}: "
            "convert the new files, or prepare all anew"
        )
    if given and there is not None:
        raise UsageError(f"{given}: {parent.root} has black {there.black:g} and white {there.white:g}: leave it out")
    return there


def parent_fact(out: str | Path, part: str, parent: Manifest) -> dict[str, str]:
    """What the manifest of a part of `out` says of the version before."""
    at = parent.root
    if not is_url(at):
        at = os.path.abspath(at) if is_url(out) else os.path.relpath(at, Path(out, part))
    return {"at": at, "digest": parent.digest}


@dataclass(frozen=True)
class Link:
    """A version of a data set, as the one after it records it.

    Attributes:
        place: where it is.
        manifest: that is there; None if none can be read.
        problem: what differs from the record, or nothing.
    """

    place: str
    manifest: Manifest | None
    problem: str = ""


def earlier_versions(manifest: Manifest) -> Iterator[Link]:
    """The versions before, from the newest to the first. It ends with one that is not what was recorded."""
    seen = {manifest.digest}
    while manifest.parent is not None:
        place, digest = parent_place(manifest), manifest.parent["digest"]
        try:
            found = open_manifest(place)
        except UsageError as error:
            is_gone = not is_url(place) and not is_at(f"{place}/{MANIFEST}")
            yield Link(place, None, "is gone" if is_gone else f"cannot be read: {error}")
            return
        if found.digest != digest or digest in seen:
            other = f"has the manifest {found.digest[:12]}, and {digest[:12]} is recorded in {manifest.root}"
            yield Link(place, found, f"is another data set: {other}")
            return
        absent = [
            name
            for name, facts in found.shards.items()
            if manifest.shards.get(name, {}).get("sha256") != facts["sha256"]
        ]
        yield Link(place, found, f"has shards that {manifest.root} has not: {absent[0]}" if absent else "")
        if absent:
            return
        seen.add(digest)
        manifest = found


def parent_place(manifest: Manifest) -> str:
    """Where the version before is, by the record of a manifest that has one."""
    assert manifest.parent is not None
    at = manifest.parent["at"]
    if is_url(at) or at.startswith("/"):
        return at
    if not is_url(manifest.root):
        return os.path.normpath(Path(manifest.root, at))
    protocol, _, path = manifest.root.partition("://")
    return f"{protocol}://{posixpath.normpath(f'{path}/{at}')}"  # a data set that was copied to a URL with its versions
