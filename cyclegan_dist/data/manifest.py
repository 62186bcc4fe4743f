"""The Parquet manifest beside the shards: what every sample is, where it lies, and what its bytes must hash to.

A data set is a folder or fsspec URL with `manifest.parquet`, written last, and ordinary WebDataset tars under `A/` and
`B/`.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from cyclegan_dist.data.plan import DOMAINS
from cyclegan_dist.errors import UsageError

NAME = "manifest.parquet"
VERSION = 1
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
        ("mode", pa.string()),  # Pillow's: L or RGB
        ("sha256", pa.binary(32)),
    ]
)


@dataclass(frozen=True)
class Manifest:
    """A data set, opened.

    Attributes:
        root: folder or URL, without a slash at the end.
        table: one row per sample, `SCHEMA`.
        shards: sha256, bytes and samples of each shard by relative path.
        digest: sha256 of the manifest file.
    """

    root: str
    table: pa.Table
    shards: dict[str, dict[str, Any]]
    digest: str

    @cached_property
    def domains(self) -> dict[str, pa.Table]:
        """The rows of each domain."""
        return {d: self.table.filter(pa.compute.equal(self.table["domain"], d)) for d in DOMAINS}  # pyright: ignore

    @property
    def samples(self) -> dict[str, int]:
        return {domain: len(rows) for domain, rows in self.domains.items()}

    def domain_digest(self, domain: str) -> str:
        """sha256 over the hashes of a domain's samples, in order: equal for equal images however they are sharded."""
        rows = self.domains[domain]
        return hashlib.sha256(b"".join(rows["sha256"].to_pylist())).hexdigest()


def open_manifest(path: str) -> Manifest:
    """Read the manifest of the data set at `path`, a folder or URL or the manifest itself.

    Raises:
        UsageError: if there is none, or it is not one of ours, or a domain is empty.
    """
    if path.startswith("pipe:"):
        raise UsageError(f"{path}: pipe: URLs run commands and are refused; give a folder or an fsspec URL")
    root = path.removesuffix(NAME).rstrip("/") or "."
    try:
        with fsspec.open(f"{root}/{NAME}", "rb") as file:
            data = file.read()  # pyright: ignore[reportAttributeAccessIssue]
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"no data set at {root}: {NAME} is missing. Make it with: python -m pipelines.prepare A_DIR B_DIR {root}"
        ) from None
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"cannot read {root}/{NAME}: {error}") from error
    try:
        table = pq.read_table(pa.BufferReader(data))
        facts = json.loads((table.schema.metadata or {})[b"cyclegan_dist"])
        table = table.cast(SCHEMA)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
        raise UsageError(f"{root}/{NAME} is not a manifest that python -m pipelines.prepare wrote") from None
    if facts["version"] != VERSION:
        raise UsageError(
            f"{root}/{NAME} has version {facts['version']}; this program reads {VERSION}: prepare the data set again"
        )
    manifest = Manifest(root, table, facts["shards"], hashlib.sha256(data).hexdigest())
    for domain, n in manifest.samples.items():
        if not n:
            raise UsageError(f"{root}: domain {domain} has no images")
    return manifest


def write_manifest(path: str, rows: list[dict[str, Any]], shards: dict[str, dict[str, Any]]) -> None:
    """Write rows of `SCHEMA` and the shards' facts to the local file `path`. The same input gives the same bytes."""
    facts = json.dumps({"version": VERSION, "shards": shards}, sort_keys=True)
    table = pa.Table.from_pylist(rows, schema=SCHEMA).replace_schema_metadata({"cyclegan_dist": facts})
    pq.write_table(table, path, compression="zstd")
