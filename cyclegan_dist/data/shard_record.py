"""What is recorded of a shard that is complete, so that an interrupted preparation goes on after it."""

# pyright: reportAttributeAccessIssue=false

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cyclegan_dist.data.manifest import SCHEMA, SOURCE
from cyclegan_dist.storage.files import atomic

ROWS = pa.unify_schemas([SCHEMA, SOURCE])


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ShardRecord:
    """A complete shard.

    Attributes:
        shard: its path relative to the manifest.
        facts: sha256, bytes and samples.
        rows: of the manifest, all columns.
        position: number of the domain's files up to its end, also unreadable ones.
        bad: the unreadable files that were read since the end of the shard before.
        clipped: number of its values that are beyond black or white, counted as pixels.
    """

    shard: str
    facts: dict[str, Any]
    rows: pa.Table
    position: int = 0
    bad: Sequence[BadFile] = ()
    clipped: float = 0.0

    def write(self, path: Path) -> None:
        """Write it to a file, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        others = {
            "shard": self.shard,
            "facts": self.facts,
            "position": self.position,
            "bad": [[file.name, file.reason] for file in self.bad],
            "clipped": self.clipped,
        }
        with atomic(path) as draft:
            pq.write_table(self.rows.replace_schema_metadata({"record": json.dumps(others)}), draft)

    @classmethod
    def read(cls, file: Any) -> "ShardRecord":
        """Read it from a path or an open file.

        Raises:
            OSError, ValueError: if it cannot be read, or is none.
        """
        table = pq.read_table(file)
        others = json.loads((table.schema.metadata or {}).get(b"record", b"null"))
        if not isinstance(others, dict):
            raise ValueError("no record of a shard")
        others["bad"] = [BadFile(*fields) for fields in others["bad"]]
        return cls(rows=table.replace_schema_metadata(None).cast(ROWS), **others)
