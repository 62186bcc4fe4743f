"""Writing of a data set: WebDataset tars and their manifest.

Readers never see a partial data set (`drafts`). The same images give the same bytes.
"""

# pyarrow.compute creates its functions at import.
# pyright: reportAttributeAccessIssue=false

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cyclegan_dist.data.config import CHECKSUM
from cyclegan_dist.data.domain_names import NO_NAMES, Names
from cyclegan_dist.data.drafts import Draft, open_draft
from cyclegan_dist.data.encode import EncodedImage
from cyclegan_dist.data.encoding import DomainImages
from cyclegan_dist.data.energon import write_energon
from cyclegan_dist.data.folder_draft import shard_name
from cyclegan_dist.data.manifest import DEEP_VERSION, MANIFEST, REFERRING_VERSION, SCHEMA, SOURCE, VERSION, Manifest
from cyclegan_dist.data.plan import DOMAINS
from cyclegan_dist.data.prepare_config import refuse_target
from cyclegan_dist.data.shard_record import ROWS, ShardRecord
from cyclegan_dist.data.tars import write_shard
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.data.versions import parent_fact
from cyclegan_dist.errors import UsageError

NO_PARENTS: Mapping[str, Manifest] = {}
Images = Iterable[EncodedImage] | DomainImages


def shuffled(names: list[str], seed: int) -> list[str]:
    """`names` in an order that depends on `seed` alone, so that neighbours in a shard are not neighbours in a
    folder.
    """
    return [names[i] for i in np.random.default_rng(seed).permutation(len(names))]


def write_dataset(
    domains: Mapping[str, Images],
    out: str | Path,
    *,
    samples_per_shard: int,
    parts: Mapping[str, Mapping[str, Images]] | None = None,
    overwrite: bool = False,
    paired: bool | Literal["some"] = False,
    values: Mapping[str, ValueRange | None] | None = None,
    bands: Mapping[str, Sequence[int] | None] | None = None,
    domain_names: Names = NO_NAMES,
    energon: bool = False,
    palette: Mapping[str, Any] | None = None,
    parents: Mapping[str, Manifest] = NO_PARENTS,
    key: str = "",
    report: Callable[[str], object] = lambda line: None,
) -> None:
    """Write both domains' images, in the order given, and their manifest. What else is in the folder stays there.

    Args:
        domains: images of "A" and of "B".
        out: folder to make, or URL.
        parts: the same of data sets in folders of it, by the folder's name; they appear together with it.
        samples_per_shard: images in one tar.
        overwrite: replace another data set at `out`.
        paired: images with the same name are pairs; `some`: and others have no partner.
        values: the value range of each domain that has one.
        bands: those taken of each domain's files, where they were chosen.
        domain_names: of A and B, if they have any.
        palette: of label maps, as a dictionary.
        energon: write the metadata of Megatron-Energon too, to a folder.
        parents: the version before of the data set, under an empty name, and of parts of it; opened with all columns.
            Its samples come first, in the shards that it has.
        key: equal for equal images and options: an interrupted writing with the same one goes on after the shards that
            are complete. Empty: it begins again.
        report: called with a line if there was one.

    Raises:
        UsageError: if `out` holds something else, or cannot be written.
    """
    refuse_target(out, overwrite=overwrite)
    whole = {"": domains, **(parts or {})}
    with open_draft(out, key, overwrite=overwrite, report=report) as draft:
        for part, images in whole.items():
            parent = parents.get(part)
            old = {} if parent is None else draft.adopt(part, parent)
            tables, new = list[pa.Table](), list[ShardRecord]()
            for domain in DOMAINS:
                records = _write_shards(draft, part, domain, images[domain], samples_per_shard, parent)
                tables += [] if parent is None else [parent.domains[domain].cast(ROWS)]
                tables += [shard.rows for shard in records]
                new += records
            folder = draft.folder / part
            folder.mkdir(parents=True, exist_ok=True)
            write_manifest(
                str(folder / MANIFEST),
                _joined(tables),
                old | {shard.shard: shard.facts for shard in new},
                paired=paired,
                values=values,
                bands=bands,
                domain_names=domain_names,
                parent=None if parent is None else parent_fact(out, part, parent),
                palette=palette,
            )
            if energon and any("at" in facts for facts in old.values()):
                raise UsageError("--energon: shards of --append are in another place: leave one of both out")
            if energon:
                write_energon(folder, part)
        draft.commit(whole, overwrite=overwrite)


def _write_shards(
    draft: Draft, part: str, domain: str, images: Images, samples_per_shard: int, parent: Manifest | None
) -> list[ShardRecord]:
    """Write a domain's tars that are not complete, after those of the version before. Returns the records of all new
    ones.
    """
    number = first_key = position = 0
    if parent is not None:
        try:
            number = 1 + max(int(name[-10:-4]) for name in parent.shards if name.startswith(f"{domain}/"))
            first_key = 1 + int(pc.max(parent.domains[domain]["key"]).as_py())
        except ValueError:
            raise UsageError(f"--append: shards and keys of {parent.root} are not named as prepare does") from None
    records: list[ShardRecord] = []
    if isinstance(images, DomainImages):
        for record in draft.complete(part, domain, number):
            images.skip(record)
            records.append(record)
            position = record.position
    left, first = iter(images), number
    while True:
        number = first + len(records)
        shard = shard_name(domain, number)
        key = first_key + len(records) * samples_per_shard
        record = write_shard(draft.tar(part, shard), shard, left, samples_per_shard, key, position)
        if record is None:
            return records
        draft.keep(part, record)
        records.append(record)
        position = record.position


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows as one table, the same as if it had been made at once."""
    table = pa.concat_tables([ROWS.empty_table(), *tables])
    return table.unify_dictionaries().combine_chunks()


def write_manifest(
    path: str,
    rows: pa.Table | list[dict[str, Any]],
    shards: dict[str, dict[str, Any]],
    *,
    paired: bool | Literal["some"] = False,
    values: Mapping[str, ValueRange | None] | None = None,
    bands: Mapping[str, Sequence[int] | None] | None = None,
    domain_names: Names = NO_NAMES,
    parent: Mapping[str, str] | None = None,
    palette: Mapping[str, Any] | None = None,
) -> None:
    """Write rows of `SCHEMA`, and of `SOURCE` if it says anything, and the facts of shards and values to the local file
    `path`, and its checksum beside it. The same input gives the same bytes.
    """
    ranges = {domain: dataclasses.asdict(found) for domain, found in (values or {}).items() if found is not None}
    chosen = {domain: list(found) for domain, found in (bands or {}).items() if found is not None}
    refers = any("at" in shard for shard in shards.values())
    facts = {
        "version": REFERRING_VERSION if refers else DEEP_VERSION if ranges else VERSION,
        "shards": shards,
        **({"paired": paired} if paired else {}),
        **({"values": ranges} if ranges else {}),
        **({"bands": chosen} if chosen else {}),
        **({"domain_names": dict(domain_names)} if domain_names else {}),
        **({"parent": dict(parent)} if parent else {}),
        **({"palette": dict(palette)} if palette else {}),
    }
    if isinstance(rows, list):
        schema = pa.unify_schemas([SCHEMA, SOURCE]) if any("bits" in row for row in rows) else SCHEMA
        table = pa.Table.from_pylist(rows, schema=schema)
    else:
        table = rows.select(SCHEMA.names) if rows["bits"].null_count == len(rows) else rows
    table = table.replace_schema_metadata({"cyclegan_dist": json.dumps(facts, sort_keys=True)})
    pq.write_table(table, path, compression="zstd")
    content = Path(path).read_bytes()
    Path(path).with_name(CHECKSUM).write_text(f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n")
