"""Metadata with which Megatron-Energon reads the shards of a data set: for each domain a folder `.nv-meta` beside its
tars, and an index beside each tar.

As read and written by megatron-energon 7.4.1 (PyPI): `flavors/webdataset/prepare.py`, `indexing.py`, `itar.py` and
`structs.py`. Keys are unique within a domain only, so that each domain is a data set of its own.
"""

import hashlib
import json
import sqlite3
import struct
import tarfile
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cyclegan_dist.data.config import MANIFEST, VALIDATION
from cyclegan_dist.data.plan import DOMAINS

META = ".nv-meta"
PARTS = ("train", "val", "test")
_DATASET = {
    "sample_type": {"__module__": "megatron.energon", "__class__": "ImageSample"},
    "field_map": {"image": "jpg,png,npy"},
}
_TABLES = """
CREATE TABLE samples (
    tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, sample_index INTEGER NOT NULL,
    byte_offset INTEGER, byte_size INTEGER);
CREATE TABLE sample_parts (
    tar_file_id INTEGER, sample_index INTEGER, part_name TEXT, content_byte_offset INTEGER,
    content_byte_size INTEGER);
"""
_INDICES = """
CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index);
CREATE INDEX idx_sample_parts_seq ON sample_parts(tar_file_id, sample_index, content_byte_offset);
CREATE INDEX idx_sample_parts_full
    ON sample_parts(tar_file_id, sample_index, part_name, content_byte_offset, content_byte_size);
"""


def write_energon(folder: Path, part: str) -> None:
    """Write the metadata of both domains of a data set whose shards and manifest are there.

    Args:
        folder: of the data set.
        part: its name, `val` or empty. Energon finds the shards in its split of that name, or in `train`.
    """
    manifest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    for domain in DOMAINS:
        meta = folder / domain / META
        meta.mkdir()
        shards = {path.name: _indexed(path) for path in sorted((folder / domain).glob("*.tar"))}
        info = {"shard_counts": {name: len(samples) for name, samples in shards.items()}}
        split = VALIDATION if part == VALIDATION else "train"
        splits = {"split_parts": {name: list(shards) if name == split else [] for name in PARTS}, "exclude": []}
        # JSON is YAML too; older versions read .info.yaml.
        for name, content in (
            (".info.json", info),
            (".info.yaml", info),
            ("split.yaml", splits),
            ("dataset.yaml", _DATASET),
        ):
            (meta / name).write_text(json.dumps(content, indent=2) + "\n")
        (meta / "index.uuid").write_text(str(uuid.uuid5(uuid.NAMESPACE_OID, f"{manifest} {domain}")))
        _write_index(meta / "index.sqlite", list(shards.values()))


@dataclass(frozen=True)
class _Sample:
    """A file in a tar: its name, and where its header, its content and the next header begin."""

    name: str
    header: int
    content: int
    size: int
    end: int


def _indexed(shard: Path) -> list[_Sample]:
    """The samples of a tar, after its index is written: where each begins, and where the last one ends."""
    with tarfile.open(shard, "r:") as tar:
        found = [(member.name, member.offset, member.offset_data, member.size) for member in tar]
        starts = [*(offset for _, offset, _, _ in found), tar.offset]
    shard.with_suffix(".tar.idx").write_bytes(struct.pack(f"{len(starts)}Q", *starts))
    return [_Sample(*facts, end) for facts, end in zip(found, starts[1:], strict=True)]


def _write_index(path: Path, shards: Sequence[Sequence[_Sample]]) -> None:
    """Write where each sample and its file are in the tars."""
    samples, parts = [], []
    for number, found in enumerate(shards):
        for index, one in enumerate(found):
            key, extension = one.name.split(".", 1)
            samples.append((number, key, index, one.header, one.end - one.header))
            parts.append((number, index, extension, one.content, one.size))
    with closing(sqlite3.connect(path)) as database:
        database.executescript(_TABLES)
        database.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", samples)
        database.executemany("INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)", parts)
        database.executescript(_INDICES)
        database.commit()
