"""Atomic writing of a data set: WebDataset tars and their manifest.

Everything is written to a hidden folder next to the target, which is renamed to it when the manifest is complete, so
that readers never see a partial data set. The same images give the same bytes.
"""

import contextlib
import dataclasses
import filecmp
import hashlib
import io
import itertools
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cyclegan_dist.data.config import CHECKSUM
from cyclegan_dist.data.domain_names import NO_NAMES, Names
from cyclegan_dist.data.encode import EncodedImage
from cyclegan_dist.data.energon import write_energon
from cyclegan_dist.data.manifest import DEEP_VERSION, MANIFEST, SCHEMA, SOURCE, VERSION
from cyclegan_dist.data.plan import DOMAINS
from cyclegan_dist.data.prepare_config import refuse_target
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.errors import UsageError
from cyclegan_dist.storage.files import atomic, hidden, sync


def shuffled(names: list[str], seed: int) -> list[str]:
    """`names` in an order that depends on `seed` alone, so that neighbours in a shard are not neighbours in a
    folder.
    """
    return [names[i] for i in np.random.default_rng(seed).permutation(len(names))]


def write_dataset(
    domains: Mapping[str, Iterable[EncodedImage]],
    out: Path,
    *,
    samples_per_shard: int,
    parts: Mapping[str, Mapping[str, Iterable[EncodedImage]]] | None = None,
    overwrite: bool = False,
    paired: bool | Literal["some"] = False,
    values: Mapping[str, ValueRange | None] | None = None,
    bands: Mapping[str, Sequence[int] | None] | None = None,
    domain_names: Names = NO_NAMES,
    energon: bool = False,
) -> Path:
    """Write both domains' images, in the order given, and their manifest. What else is in the folder stays there.

    Args:
        domains: images of "A" and of "B".
        out: folder to make.
        parts: the same of data sets in folders of it, by the folder's name; they appear together with it.
        samples_per_shard: images in one tar.
        overwrite: replace another data set at `out`.
        paired: images with the same name are pairs; `some`: and others have no partner.
        values: the value range of each domain that has one.
        bands: those taken of each domain's files, where they were chosen.
        domain_names: of A and B, if they have any.
        energon: write the metadata of Megatron-Energon too.

    Returns:
        The manifest's path.

    Raises:
        UsageError: if `out` holds something else, or cannot be written.
    """
    refuse_target(out, overwrite=overwrite)
    with _beside(out) as draft:
        for part, images in {"": domains, **(parts or {})}.items():
            folder, rows = draft / part, list[dict[str, Any]]()
            shards: dict[str, dict[str, Any]] = {}
            for domain in DOMAINS:
                for shard, index in _write_tars(images[domain], folder, domain, samples_per_shard):
                    rows += [{"domain": domain, "shard": shard, **row} for row in index]
                    shards[shard] = _facts(folder / shard, len(index))
            write_manifest(
                str(folder / MANIFEST),
                rows,
                shards,
                paired=paired,
                values=values,
                bands=bands,
                domain_names=domain_names,
            )
            if energon:
                write_energon(folder, part)
        made = [Path(part, MANIFEST) for part in ("", *(parts or {}))]
        known = [path for path in made if (out / path).exists()]
        if known and not overwrite and not all(filecmp.cmp(out / path, draft / path, shallow=False) for path in known):
            raise UsageError(f"{out} holds another data set: choose another folder, or pass --overwrite")
        # An identical data set is replaced too, because its shards may have been damaged.
        _put_in_place(draft, out)
    return out / MANIFEST


def write_manifest(
    path: str,
    rows: list[dict[str, Any]],
    shards: dict[str, dict[str, Any]],
    *,
    paired: bool | Literal["some"] = False,
    values: Mapping[str, ValueRange | None] | None = None,
    bands: Mapping[str, Sequence[int] | None] | None = None,
    domain_names: Names = NO_NAMES,
) -> None:
    """Write rows of `SCHEMA`, and of `SOURCE` if there are any, and the facts of shards and values to the local file
    `path`, and its checksum beside it. The same input gives the same bytes.
    """
    ranges = {domain: dataclasses.asdict(found) for domain, found in (values or {}).items() if found is not None}
    chosen = {domain: list(found) for domain, found in (bands or {}).items() if found is not None}
    facts = {
        "version": DEEP_VERSION if ranges else VERSION,
        "shards": shards,
        **({"paired": paired} if paired else {}),
        **({"values": ranges} if ranges else {}),
        **({"bands": chosen} if chosen else {}),
        **({"domain_names": dict(domain_names)} if domain_names else {}),
    }
    schema = pa.unify_schemas([SCHEMA, SOURCE]) if any("bits" in row for row in rows) else SCHEMA
    table = pa.Table.from_pylist(rows, schema=schema)
    table = table.replace_schema_metadata({"cyclegan_dist": json.dumps(facts, sort_keys=True)})
    pq.write_table(table, path, compression="zstd")
    content = Path(path).read_bytes()
    Path(path).with_name(CHECKSUM).write_text(f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n")


@contextlib.contextmanager
def _beside(out: Path) -> Iterator[Path]:
    draft = hidden(out.absolute(), ending=".unfinished")  # so that no name can make it a URL
    try:
        shutil.rmtree(draft, ignore_errors=True)  # what an interrupted run left
        draft.mkdir(parents=True)
        yield draft
    except OSError as error:
        raise UsageError(
            f"cannot write {out}: {error.strerror or error}; free space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put_in_place(draft: Path, out: Path) -> None:
    for path in [*sorted(draft.rglob("*.tar")), *draft.rglob(CHECKSUM), *draft.rglob(MANIFEST)]:
        sync(path)
    if not (out / MANIFEST).exists():
        os.rename(draft, out)  # an empty folder of that name is replaced
        return
    (out / MANIFEST).unlink()  # without its manifest the old folder is not a data set
    for path in sorted(draft.iterdir(), key=lambda path: path.name == MANIFEST):  # which comes last
        if (old := out / path.name).is_dir():
            shutil.rmtree(old)
        os.rename(path, old)


def _write_tars(
    images: Iterable[EncodedImage], draft: Path, domain: str, samples_per_shard: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Write a domain's tars; yield each one's relative path and its rows."""
    (draft / domain).mkdir(parents=True)
    images = iter(images)
    for number in itertools.count():
        path = draft / domain / f"{domain}-{number:06d}.tar"
        rows: dict[str, dict[str, Any]] = {}
        with path.open("xb") as file, _samples(file) as write:
            for image in itertools.islice(images, samples_per_shard):
                key = f"{number * samples_per_shard + len(rows):09d}"
                write(key, image)
                rows[f"{key}.{image.extension}"] = {
                    "key": key,
                    "name": image.name,
                    "width": image.width,
                    "height": image.height,
                    "mode": image.mode,
                    "sha256": hashlib.sha256(image.data).digest(),
                    **({} if image.source is None else dataclasses.asdict(image.source)),
                }
        if not rows:
            path.unlink()
            return
        with tarfile.open(path, "r:") as tar:
            index = [rows[member.name] | {"offset": member.offset_data, "size": member.size} for member in tar]
        yield path.relative_to(draft).as_posix(), index


@contextlib.contextmanager
def _samples(file: BinaryIO) -> Iterator[Callable[[str, EncodedImage], None]]:
    """Give a function that appends a key and its image to the tar `file`; the bytes are those of webdataset's own
    writer with a time of 0.
    """
    with tarfile.open(fileobj=file, mode="w|") as tar:

        def write(key: str, image: EncodedImage) -> None:
            member = tarfile.TarInfo(f"{key}.{image.extension}")
            member.size, member.mode = len(image.data), 0o444
            member.uname = member.gname = "bigdata"
            tar.addfile(member, io.BytesIO(image.data))

        yield write


def write_tar(path: Path, samples: Iterable[tuple[str, EncodedImage]]) -> int:
    """Write keys and their images as one WebDataset tar, atomically. Returns their number.

    Raises:
        OSError: if it cannot be written.
    """
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as draft, draft.open("xb") as file, _samples(file) as write:
        for key, image in samples:
            write(key, image)
            count += 1
    return count


def _facts(shard: Path, samples: int) -> dict[str, Any]:
    with shard.open("rb") as file:
        return {
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            "bytes": shard.stat().st_size,
            "samples": samples,
        }
