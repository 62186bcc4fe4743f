"""The Parquet manifest of a data set: the description, location and hash of every sample.

A data set is a folder or fsspec URL with `manifest.parquet`, written last, and ordinary WebDataset tars under `A/` and
`B/`.
"""

# pyarrow.compute creates its functions at import.
# pyright: reportAttributeAccessIssue=false

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cyclegan_dist.data.config import CHECKSUM, MANIFEST, DataDirection
from cyclegan_dist.data.domain_names import Names, read_names, swapped
from cyclegan_dist.data.location import no_data_set
from cyclegan_dist.data.manifest_checks import refuse_strange
from cyclegan_dist.data.plan import DOMAINS
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.errors import UsageError, pipeline_command, refuse_password, storage_errors
from cyclegan_dist.storage.urls import file_system_at

VERSION = 1  # of a data set whose images have 8 bits
DEEP_VERSION = 2  # of one with value ranges, which programs that do not know of them would misread
REFERRING_VERSION = 3  # of one that has shards in another place, where older programs would not look for them
SCHEMA = pa.schema(
    [
        ("domain", pa.dictionary(pa.int8(), pa.string())),
        ("key", pa.string()),  # of the WebDataset sample: nine digits
        ("name", pa.string()),  # of the file it was made from, relative to its folder
        ("shard", pa.dictionary(pa.int32(), pa.string())),  # path relative to the manifest
        ("offset", pa.int64()),  # of the image's first byte in the shard
        ("size", pa.int64()),  # bytes
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("mode", pa.string()),  # L, RGB, or C and the number of channels of an .npy: C4
        ("sha256", pa.binary(32)),
    ]
)
SOURCE = pa.schema(  # of the file that an image was made from; absent in data sets that were not made from files
    [
        ("bits", pa.int16()),  # of each value
        ("bands", pa.int32()),
        ("alpha", pa.dictionary(pa.int8(), pa.string())),  # what was done with transparency; empty if there was none
        ("profile", pa.dictionary(pa.int32(), pa.string())),  # name of the one that was converted to sRGB, or empty
        ("orientation", pa.int8()),  # of the EXIF or TIFF tag, 1 to 8
    ]
)
# The columns that training needs. The others would double the memory of every rank.
READING = ("domain", "key", "shard", "offset", "size", "sha256")


@dataclass(frozen=True)
class Manifest:
    """An opened data set.

    Attributes:
        root: folder or URL, without a slash at the end.
        table: one row per sample, the requested columns of `SCHEMA` and `SOURCE`; all of domain A before all of B.
        shards: sha256, bytes and samples of each shard by relative path.
        digest: sha256 of the manifest file.
        paired: whether images with the same name, except for its extension, are pairs, and all have a partner.
        partly_paired: whether they are pairs, and some have none.
        values: the value range of each domain; None for one whose images have 8 bits.
        bands: those taken of each domain's files, from 1 on, or all if empty; None where nothing was chosen.
        domain_names: that were given to A and B; empty if none were.
        parent: of a later version of a data set: `at`, where the version before is, as a URL or relative to `root`,
            and `digest`, sha256 of its manifest file. None for a first version.
        palette: of its label maps, as a dictionary; None if it was prepared without, or before this was recorded.
    """

    root: str
    table: pa.Table
    shards: dict[str, dict[str, Any]]
    digest: str
    paired: bool = False
    values: dict[str, ValueRange | None] = field(default_factory=lambda: dict.fromkeys(DOMAINS))
    bands: dict[str, list[int] | None] = field(default_factory=lambda: dict.fromkeys(DOMAINS))
    partly_paired: bool = False
    domain_names: Names = field(default_factory=dict[str, str])
    parent: dict[str, str] | None = None
    palette: dict[str, Any] | None = None

    def place(self, shard: str) -> str:
        """Path or URL of a shard: below `root`, or in the place of an earlier version."""
        return f"{self.shards[shard].get('at', self.root)}/{shard}"

    @cached_property
    def domains(self) -> dict[str, pa.Table]:
        """The rows of each domain."""
        a = pc.sum(pc.equal(self.table["domain"], "A")).as_py() or 0
        return {"A": self.table.slice(0, a), "B": self.table.slice(a)}

    @property
    def samples(self) -> dict[str, int]:
        return {domain: len(rows) for domain, rows in self.domains.items()}

    def partners(self) -> np.ndarray:
        """For each sample of A the index of its partner in B: the one with the same name, except for its extension.

        Raises:
            UsageError: if the data set has no pairs, or an image of A has no partner in this part of it.
        """
        if not self.paired:
            some = "some" if self.partly_paired else "no"
            raise UsageError(
                f"{self.root} has {some} pairs, and this method learns from pairs: prepare it with "
                f"{pipeline_command('prepare')} A_DIR B_DIR OUT --pairs names (or halves)"
            )
        place = {name: index for index, name in enumerate(self._names("B"))}
        try:
            return np.array([place[name] for name in self._names("A")], np.int64)
        except KeyError as error:
            raise UsageError(
                f"{self.root}: {error.args[0]} of domain A has no partner among the {len(place)} images of B: "
                "give another data.max_samples, or 0"
            ) from None

    def pairs(self, max_pairs: int = 0) -> np.ndarray:
        """The pairs there are, m x 2: the index of the sample of A and of that of B, by their sum, so that the first
        ones are the same if domains are exchanged.

        Args:
            max_pairs: the first so many; 0: all.

        Raises:
            UsageError: if the data set has no pairs, or fewer than `max_pairs` or none in this part of it.
        """
        if not (self.paired or self.partly_paired):
            raise UsageError(
                f"{self.root} has no pairs, and this method learns from some: prepare it with "
                f"{pipeline_command('prepare')} A_DIR B_DIR OUT --pairs some"
            )
        place = {name: index for index, name in enumerate(self._names("B"))}
        names = self._names("A")
        found = [(index, place[name]) for index, name in enumerate(names) if name in place]
        if not found:
            raise UsageError(f"{self.root}: none of its pairs is left: give another data.max_samples, or 0")
        if len(found) < max_pairs:
            raise UsageError(f"{self.root} has {len(found)} pairs: give --data.max_pairs {len(found)} or less, or 0")
        found.sort(key=lambda pair: (sum(pair), names[pair[0]]))
        return np.array(found[: max_pairs or None], np.int64)

    def _names(self, domain: str) -> list[str]:
        """The names of a domain's samples, without extension."""
        return [str(PurePath(name).with_suffix("")) for name in self.domains[domain]["name"].to_pylist()]

    def selected(self, direction: DataDirection = "AtoB", max_samples: int = 0) -> "Manifest":
        """The part of the data set that `data.direction` and `data.max_samples` name; its digest stays.

        Args:
            direction: `BtoA` exchanges the domains: `A` is then what was prepared as B. Shards keep their names.
            max_samples: images of each domain, its first; 0: all.
        """
        if direction == "AtoB" and not max_samples:
            return self
        sources = DOMAINS if direction == "AtoB" else DOMAINS[::-1]
        parts = [self.domains[domain].slice(0, max_samples or None) for domain in sources]
        values, bands = (
            {domain: of[source] for domain, source in zip(DOMAINS, sources, strict=True)}
            for of in (self.values, self.bands)
        )
        called = self.domain_names if direction == "AtoB" else swapped(self.domain_names)
        table = pa.concat_tables(parts)
        names = pa.DictionaryArray.from_arrays(np.repeat(np.arange(2, dtype=np.int8), list(map(len, parts))), DOMAINS)
        table = table.set_column(table.column_names.index("domain"), SCHEMA.field("domain"), names)
        return replace(self, table=table, values=values, bands=bands, domain_names=called)

    def domain_digest(self, domain: str) -> str:
        """sha256 over the hashes of a domain's samples, in order: equal for equal images however they are sharded."""
        together = hashlib.sha256()
        for chunk in self.domains[domain]["sha256"].chunks:
            together.update(memoryview(chunk.buffers()[1])[chunk.offset * 32 : (chunk.offset + len(chunk)) * 32])
        return together.hexdigest()


def open_manifest(path: str, columns: Sequence[str] = READING) -> Manifest:
    """Read the manifest of the data set at `path`, a folder or URL or the manifest itself.

    Args:
        path: where it is.
        columns: of `SCHEMA` and `SOURCE` that are wanted; `domain` always comes. Those of `SOURCE` are null where a
            data set has none.

    Raises:
        UsageError: if there is none, it was not written by `write_manifest` or has changed since, or a domain is empty.
    """
    if path.startswith("pipe:"):
        raise UsageError(f"{path}: pipe: URLs run commands and are refused; give a folder or an fsspec URL")
    refuse_password(path, "the data set")
    root = path.removesuffix(MANIFEST).rstrip("/") or "."
    with _local(root) as (file, recorded), ExitStack() as stack:
        content = pa.OSFile(str(file))  # opened once: another data set may be written to this place meanwhile
        stack.callback(content.close)
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        if recorded not in ("", digest):
            raise UsageError(
                f"{root}/{MANIFEST} is damaged: it is not the file that {CHECKSUM} beside it records; restore it, or "
                "prepare the data set again"
            )
        table, facts = _read(content, root, ["domain", *(name for name in columns if name != "domain")])
    values = {domain: facts["values"].get(domain) for domain in DOMAINS}
    bands = {domain: facts.get("bands", {}).get(domain) for domain in DOMAINS}
    paired, partly = facts.get("paired") is True, facts.get("paired") == "some"
    names, parent = facts["domain_names"], facts.get("parent")
    others = (values, bands, partly, names, parent, facts.get("palette"))
    manifest = Manifest(root, table, facts["shards"], digest, paired, *others)
    for domain, n in manifest.samples.items():
        if not n:
            raise UsageError(f"{root}: domain {domain} has no images")
    return manifest


@contextmanager
def _local(root: str) -> Iterator[tuple[Path, str]]:
    """The manifest as a local file, itself or a copy for the duration of the block, and the sha256 recorded beside it;
    empty if there is none, as older versions wrote none.
    """
    try:
        file_system, path = file_system_at(f"{root}/{MANIFEST}")
        with tempfile.TemporaryDirectory() as folder:
            if "file" not in file_system.protocol:
                file_system.get_file(path, f"{folder}/{MANIFEST}")
                path = f"{folder}/{MANIFEST}"
            Path(path).stat()
            yield Path(path), _recorded(root)
    except (FileNotFoundError, NotADirectoryError):
        raise no_data_set(root) from None
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"cannot read {root}/{MANIFEST}: {error}") from error


def _recorded(root: str) -> str:
    file_system, path = file_system_at(f"{root}/{CHECKSUM}")
    for is_last in (False, True):  # network storage fails occasionally
        try:
            with storage_errors():
                return file_system.cat_file(path)[:64].decode("ascii", "replace")
        except (FileNotFoundError, PermissionError):  # object storage forbids what is not there to some users
            break
        except OSError:
            if is_last:
                raise
    return ""


def _read(file: pa.NativeFile, root: str, columns: list[str]) -> tuple[pa.Table, dict[str, Any]]:
    """The columns, and what the file's metadata says about the shards."""
    try:
        file.seek(0)
        schema = pq.read_schema(file)
        facts = json.loads((schema.metadata or {})[b"cyclegan_dist"])
        if facts["version"] not in (VERSION, DEEP_VERSION, REFERRING_VERSION):
            raise UsageError(
                f"{root}/{MANIFEST} has version {facts['version']}; "
                f"this program reads {VERSION} to {REFERRING_VERSION}: prepare the data set again"
            )
        facts["values"] = {domain: ValueRange.from_json(found) for domain, found in facts.get("values", {}).items()}
        facts["domain_names"] = read_names(facts.get("domain_names"))
        absent = set(SOURCE.names) - set(schema.names)
        table = pq.read_table(file, columns=[name for name in columns if name not in absent], pre_buffer=False)
        for name in absent & set(columns):
            table = table.append_column(name, pa.nulls(len(table), SOURCE.field(name).type))
        table = table.select(columns)
        table = table.cast(pa.schema([pa.unify_schemas([SCHEMA, SOURCE]).field(name) for name in columns]))
        refuse_strange(root, table, facts["shards"], facts.get("parent"))
        return table, facts
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UsageError(
            f"{root}/{MANIFEST} is not a manifest that {pipeline_command('prepare')} wrote ({reason})"
        ) from None
