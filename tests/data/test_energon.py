"""The metadata for Megatron-Energon; docs/data.md says how it was read by that package itself."""

import json
import sqlite3
import struct
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from cyclegan_dist.data.config import CHECKSUM, MANIFEST
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from tests.conftest import write_images
from tests.data.test_prepare import everything


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("images")
    return write_images(root / "A", 7, seed=1), write_images(root / "B", 10, seed=2)


@pytest.fixture(scope="module")
def out(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("prepared") / "out"
    return prepare(PrepareConfig(*folders, target, samples_per_shard=2, validation=4, energon=True, workers=1)).parent


def test_all_else_is_the_same_without_it(out: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    prepare(PrepareConfig(*folders, tmp_path / "plain", samples_per_shard=2, validation=4, workers=1))
    before, after = everything(tmp_path / "plain"), everything(out)
    assert {MANIFEST, CHECKSUM, "A/A-000001.tar", "val/B/B-000000.tar"} <= before.keys()
    assert {name: after[name] for name in before} == before
    extra = {name for name in after if name not in before}
    assert all(".nv-meta/" in name or name.endswith(".tar.idx") for name in extra) and len(extra) == 4 * 6 + 9


def test_the_same_images_give_the_same_bytes(out: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    again = PrepareConfig(*folders, tmp_path / "again", samples_per_shard=2, validation=4, energon=True, workers=1)
    assert everything(prepare(again).parent) == everything(out)


@pytest.mark.parametrize(("part", "split"), [("", "train"), ("val", "val")])
@pytest.mark.parametrize("domain", ["A", "B"])
def test_splits_and_numbers_are_those_of_the_shards(out: Path, part: str, split: str, domain: str) -> None:
    manifest, meta = open_manifest(str(out / part)), out / part / domain / ".nv-meta"
    counts = {Path(name).name: facts["samples"] for name, facts in manifest.shards.items() if name[0] == domain}
    for name in (".info.json", ".info.yaml"):
        assert yaml.safe_load((meta / name).read_text()) == {"shard_counts": counts}
    assert json.loads((meta / ".info.json").read_text())
    splits = yaml.safe_load((meta / "split.yaml").read_text())
    assert splits["split_parts"] == {name: sorted(counts) if name == split else [] for name in ("train", "val", "test")}
    assert yaml.safe_load((meta / "dataset.yaml").read_text())["field_map"] == {"image": "jpg,png,npy"}


def test_indices_say_where_samples_are(out: Path) -> None:
    rows = open_manifest(str(out), SCHEMA.names).domains["A"].to_pylist()
    with closing(sqlite3.connect(out / "A" / ".nv-meta" / "index.sqlite")) as database:
        samples = database.execute("SELECT * FROM samples ORDER BY sample_key").fetchall()
        parts = database.execute("SELECT * FROM sample_parts ORDER BY tar_file_id, sample_index").fetchall()
    assert len(samples) == len(parts) == len(rows) == 3
    for row, sample, part in zip(rows, samples, parts, strict=True):
        shard = int(row["shard"][-10:-4])
        index = (out / row["shard"]).with_suffix(".tar.idx").read_bytes()
        starts = struct.unpack(f"{len(index) // 8}Q", index)
        number, key, place, offset, size = sample
        assert (number, key, offset, offset + size) == (shard, row["key"], starts[place], starts[place + 1])
        assert part == (shard, place, "png", row["offset"], row["size"])
        with (out / row["shard"]).open("rb") as file, tarfile.open(fileobj=file) as tar:
            assert tar.getmembers()[place].offset == offset
            file.seek(starts[-1])
            assert not file.read(512).strip(b"\0")  # the last entry is the end of the last sample
