"""Shards, manifest and reader together: what was prepared is what is read, and any difference is detected."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import webdataset as wds

from cyclegan_dist.data.encode import EncodedImage
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.data.reader import BadSampleError, DataError, ShardReader
from cyclegan_dist.data.shards import write_dataset, write_manifest
from cyclegan_dist.data.synthetic import draw_domain
from cyclegan_dist.data.tars import write_tar
from cyclegan_dist.data.verify import check_shards
from cyclegan_dist.errors import UsageError
from tests.servers import http_server


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """A data set that a test may damage."""
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def test_the_manifest_describes_the_shards(dataset: Path) -> None:
    manifest = open_manifest(str(dataset), SCHEMA.names)
    assert manifest.samples == {"A": 7, "B": 10}
    assert sorted(manifest.shards) == [
        "A/A-000000.tar",
        "A/A-000001.tar",
        "B/B-000000.tar",
        "B/B-000001.tar",
        "B/B-000002.tar",
    ]
    for name, facts in manifest.shards.items():
        assert hashlib.sha256((dataset / name).read_bytes()).hexdigest() == facts["sha256"]
    row = manifest.domains["A"].to_pylist()[0]
    assert (row["key"], row["width"], row["height"], row["mode"]) == ("000000000", 24, 24, "RGB")
    assert row["name"].endswith(".png")


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # webdataset leaves files to the collector
def test_shards_are_ordinary_webdatasets_and_positioned_reads_give_the_same_bytes(dataset: Path) -> None:
    reader = ShardReader(open_manifest(str(dataset)), "B")
    shards = sorted(str(path) for path in (dataset / "B").iterdir())
    streamed = list(wds.WebDataset(shards, shardshuffle=False))
    assert len(streamed) == len(reader) == 10
    for index, sample in enumerate(streamed):
        assert sample["__key__"] == reader.key(index)
        assert sample["png"] == reader.read(index)


def test_shards_are_those_of_webdatasets_own_writer(dataset: Path, tmp_path: Path) -> None:
    """Data sets that were written by it, and by other programs with it, have the same digests."""
    reader = ShardReader(open_manifest(str(dataset)), "B")
    with wds.ShardWriter(f"{tmp_path}/B-%06d.tar", maxcount=4, encoder=False, mtime=0, verbose=0) as writer:
        for index in range(len(reader)):
            writer.write({"__key__": reader.key(index), "png": reader.read(index)})
    for path in (dataset / "B").iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    long = f"{'x' * 90}/{'ü' * 90}"  # a key of another program's shard, which a translation keeps
    write_tar(tmp_path / "own.tar", [(long, EncodedImage("", b"image", "png", 1, 1, "RGB"))])
    with wds.TarWriter(f"{tmp_path}/other.tar", encoder=False, mtime=0) as writer:
        writer.write({"__key__": long, "png": b"image"})
    assert (tmp_path / "own.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()


def test_urls_are_read_too(dataset: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(dataset), "/reader-test", recursive=True)
    for root in ("memory://reader-test", f"file://{dataset}"):
        reader = ShardReader(open_manifest(root), "A")
        assert reader.read(6) == ShardReader(open_manifest(str(dataset)), "A").read(6)


@pytest.fixture
def server(dataset: Path) -> Iterator[str]:
    """The data set behind an HTTP server."""
    with http_server(dataset) as url:
        yield url


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # aiohttp's loop ends with its thread
def test_a_server_is_read_by_range(dataset: Path, server: str) -> None:
    reader, local = (ShardReader(open_manifest(root), "B") for root in (server, str(dataset)))
    assert [reader.read(i) for i in range(10)] == [local.read(i) for i in range(10)]


@pytest.mark.parametrize("damage", ["cut", "swapped", "flipped", "gone", "grown"])
def test_a_shard_that_differs_from_the_manifest_is_named(copy: Path, damage: str) -> None:
    shard = copy / "A" / "A-000001.tar"
    data = bytearray(shard.read_bytes())
    if damage == "cut":
        shard.write_bytes(data[:600])
    elif damage == "swapped":
        shutil.copy(copy / "B" / "B-000000.tar", shard)
    elif damage == "flipped":
        data[700] ^= 1
        shard.write_bytes(data)
    elif damage == "grown":
        shard.write_bytes(data + bytes(512))
    else:
        shard.unlink()
    reader = ShardReader(open_manifest(str(copy)), "A")
    assert reader.read(0)
    with pytest.raises(DataError, match=r"A-000001\.tar"):
        for index in range(len(reader)):
            reader.read(index)


def test_a_replaced_shard_is_read_again(copy: Path) -> None:
    shard = copy / "A" / "A-000000.tar"
    whole = shard.read_bytes()
    reader = ShardReader(open_manifest(str(copy)), "A")
    first = reader.read(0)
    shard.write_bytes(bytes(len(whole)))
    with pytest.raises(BadSampleError, match="A/000000000"):
        reader.read(0)
    (copy / "new").write_bytes(whole)
    os.replace(copy / "new", shard)  # the open file is still the torn one
    assert reader.read(0) == first


def test_failing_storage_is_retried_and_then_reported(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ShardReader(open_manifest(str(dataset)), "A")
    monkeypatch.setattr("cyclegan_dist.data.reader.PAUSES_S", (0.0, 0.0, 0.0))
    failures, pread = iter([OSError(5, "Input/output error")] * 2), os.pread

    def sometimes(*where: int) -> bytes:
        for error in failures:
            raise error
        return pread(*where)

    monkeypatch.setattr(os, "pread", sometimes)
    assert reader.read(0)
    failures = iter([OSError(5, "Input/output error")] * 4)
    with pytest.raises(DataError, match=r"A-000000\.tar cannot be read .*is its storage mounted") as error:
        reader.read(0)
    assert not isinstance(error.value, BadSampleError)  # nothing is wrong with the sample


@pytest.mark.parametrize(
    "change",
    [
        {"shard": "../../etc/passwd"},
        {"shard": "/etc/passwd"},
        {"shard": "pipe:echo"},
        {"key": "../../x"},
        {"key": "/x"},
    ],
    ids=lambda change: "".join(change.values()),
)
def test_a_manifest_that_points_outside_its_folder_is_refused(copy: Path, change: dict[str, str]) -> None:
    manifest = open_manifest(str(copy), SCHEMA.names)
    rows, shards = manifest.table.to_pylist(), manifest.shards
    if "shard" in change:
        shards[change["shard"]] = shards[rows[0]["shard"]]
    rows[0] |= change
    write_manifest(str(copy / "manifest.parquet"), rows, shards)
    with pytest.raises(UsageError, match="not a manifest"):
        open_manifest(str(copy))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # aiohttp's refused connection
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere", "python -m pipelines.prepare"),
        ("pipe:echo hello", "refused"),
        ("http://127.0.0.1:9/x", "cannot read"),
        ("nonsense://x", "cannot read"),
    ],
)
def test_a_missing_data_set_is_one_line_with_advice(path: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        open_manifest(path)
    assert "\n" not in str(error.value)


def test_other_parquet_files_and_empty_domains_are_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "manifest.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UsageError, match=r"is damaged: .*manifest\.parquet\.sha256"):
        open_manifest(str(copy))
    (copy / "manifest.parquet.sha256").unlink()
    with pytest.raises(UsageError, match="not a manifest"):
        open_manifest(str(copy))
    images = draw_domain("A", 2, seed=0, size=16)
    write_dataset({"A": images, "B": []}, tmp_path / "half", samples_per_shard=5)
    with pytest.raises(UsageError, match="domain B has no images"):
        open_manifest(str(tmp_path / "half"))


def test_every_flipped_bit_of_a_manifest_is_noticed(copy: Path) -> None:
    path = copy / "manifest.parquet"
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).integers(8 * len(whole), size=50):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="is damaged"):
            open_manifest(str(copy))
    path.write_bytes(whole)
    checked = subprocess.run(["sha256sum", "-c", "manifest.parquet.sha256"], cwd=copy, capture_output=True)
    assert checked.returncode == 0


@pytest.mark.parametrize("change", ["removed", "doubled"])
def test_rows_that_are_not_the_shards_samples_are_refused(copy: Path, change: str) -> None:
    manifest = open_manifest(str(copy), SCHEMA.names)
    rows = manifest.table.to_pylist()
    rows = rows[1:] if change == "removed" else [rows[0], *rows]
    write_manifest(str(copy / "manifest.parquet"), rows, manifest.shards)
    with pytest.raises(UsageError, match="not a manifest"):
        open_manifest(str(copy))


def test_a_row_with_the_hash_of_another_image_is_found_though_the_shard_is_intact(copy: Path) -> None:
    manifest = open_manifest(str(copy), SCHEMA.names)
    rows = manifest.table.to_pylist()
    rows[0]["sha256"], rows[1]["sha256"] = rows[1]["sha256"], rows[0]["sha256"]
    write_manifest(str(copy / "manifest.parquet"), rows, manifest.shards)
    (problems,) = (found for found in check_shards(open_manifest(str(copy))) if found)
    assert rows[0]["key"] in problems[0] and rows[1]["key"] in problems[0]


def test_a_failed_write_leaves_no_data_set(tmp_path: Path) -> None:
    def breaks():
        yield from draw_domain("B", 3, seed=0, size=16)
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="No space left"):
        write_dataset({"A": draw_domain("A", 3, seed=0, size=16), "B": breaks()}, tmp_path / "out", samples_per_shard=2)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_is_not_a_data_set_and_is_replaced(tmp_path: Path) -> None:
    images = {d: draw_domain(d, 3, seed=0, size=16) for d in "AB"}
    (tmp_path / ".out.unfinished" / "A").mkdir(parents=True)  # what a killed process leaves
    with pytest.raises(UsageError, match="no data set"):
        open_manifest(str(tmp_path / "out"))
    write_dataset(images, tmp_path / "out", samples_per_shard=2)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_preparing_again_repairs_a_damaged_shard(tmp_path: Path) -> None:
    images = {d: draw_domain(d, 3, seed=0, size=16) for d in "AB"}
    write_dataset(images, tmp_path / "out", samples_per_shard=2)
    shard = tmp_path / "out" / "A" / "A-000000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100])
    write_dataset(images, tmp_path / "out", samples_per_shard=2)
    assert shard.read_bytes() == whole


def test_any_damage_to_the_manifest_is_one_line(copy: Path) -> None:
    path = copy / "manifest.parquet"
    data = path.read_bytes()
    refused = 0
    for place in range(0, len(data), 37):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            open_manifest(str(copy))
        except UsageError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10


def test_another_data_set_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    one, two = ({d: draw_domain(d, 3, seed=s, size=16) for d in "AB"} for s in (1, 2))
    write_dataset(one, out, samples_per_shard=2)
    before = (out / "manifest.parquet").read_bytes()
    write_dataset(one, out, samples_per_shard=2)
    with pytest.raises(UsageError, match="--overwrite"):
        write_dataset(two, out, samples_per_shard=2)
    assert (out / "manifest.parquet").read_bytes() == before
    write_dataset(two, out, samples_per_shard=2, overwrite=True)
    assert (out / "manifest.parquet").read_bytes() != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="not empty"):
        write_dataset(two, tmp_path / "mine", samples_per_shard=2, overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_synthetic_domains_differ_by_index_and_hold_their_truth() -> None:
    from cyclegan_dist.data.synthetic import draw_scene

    one, two = draw_scene(0, seed=0, size=32), draw_scene(1, seed=0, size=32)
    assert (one.A != two.A).any()
    changed = (one.A != one.B).any(axis=-1).mean()
    assert 0.05 < changed < 0.6  # the shape changes, the grass stays
    assert draw_domain("A", 2, seed=0, size=32)[0].data != draw_domain("B", 2, seed=0, size=32)[0].data
