"""What a manifest may hold: manifests come from other people, and say which files are read."""

# pyarrow.compute creates its functions at import.
# pyright: reportAttributeAccessIssue=false

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cyclegan_dist.data.location import is_url
from cyclegan_dist.data.plan import DOMAINS

_KEY = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$"  # not a path, because files are named after keys


def refuse_strange(root: str, table: pa.Table, shards: dict[str, dict[str, Any]], parent: Any) -> None:
    """Raise ValueError for what `write_manifest` never writes: mixed domains, names that point outside the data set,
    and places of earlier versions that are none.
    """
    if parent is not None and not (
        parent.keys() == {"at", "digest"} and all(isinstance(value, str) for value in parent.values())
    ):
        raise ValueError("parent")
    in_A, in_B = (pc.equal(table["domain"], domain) for domain in DOMAINS)
    a = pc.sum(in_A).as_py() or 0
    if not (pc.all(in_A.slice(0, a), min_count=0).as_py() and pc.all(in_B.slice(a), min_count=0).as_py()):
        raise ValueError("domain")
    for name, facts in shards.items():
        if "at" in facts and not _is_place(facts["at"], root):
            raise ValueError("at")
        if ":" in name or name.startswith("/") or ".." in name.split("/") or int(facts["bytes"]) < 0:
            raise ValueError(name)
    if "shard" in table.column_names and not set(pc.unique(table["shard"]).to_pylist()) <= shards.keys():
        raise ValueError("shard")
    if "shard" in table.column_names:
        counts = {found["values"]: found["counts"] for found in pc.value_counts(table["shard"]).to_pylist()}
        if any(facts.get("samples", counts.get(name)) != counts.get(name) for name, facts in shards.items()):
            raise ValueError("samples")
    if "key" in table.column_names and not pc.all(pc.match_substring_regex(table["key"], _KEY), min_count=0).as_py():
        raise ValueError("key")


def _is_place(at: Any, root: str) -> bool:
    """Whether it is an absolute path, for a manifest in a folder, or a URL without a chain of protocols, a password or
    a query.
    """
    if not isinstance(at, str) or (at.startswith("/") and is_url(root)):
        return False
    return bool(re.fullmatch(r"/.*|[a-z0-9]+://[^@?:]*(:\d+)?[^@?:]*", at))
