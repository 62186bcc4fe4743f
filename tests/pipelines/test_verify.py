import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.shards import write_dataset
from cyclegan_dist.data.synthetic import draw_domain
from pipelines import verify as pipeline
from tests.conftest import Answer, make_dataset, named, write_images


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Callable[..., Answer]:
    return partial(command, pipeline.main)


def test_an_intact_data_set_ends_with_0(cli, dataset: Path, tmp_path: Path) -> None:
    code, out, _ = cli(dataset)
    assert (code, out) == (0, "5 shards, 17 samples: every byte is as recorded\n")
    code, out, _ = cli(named(dataset, tmp_path / "named"))
    assert code == 0 and out.splitlines()[0] == "domains: A is summer, B is winter"


def test_every_damaged_shard_is_named_and_it_ends_with_1(cli, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    cut, grown, flipped, swapped, gone = sorted(dataset.rglob("*.tar"))
    cut.write_bytes(cut.read_bytes()[:-100])
    grown.write_bytes(grown.read_bytes() + b"x")
    data = bytearray(flipped.read_bytes())
    data[700] ^= 1
    flipped.write_bytes(data)
    swapped.write_bytes(bytes(len(swapped.read_bytes())))
    gone.unlink()
    code, out, _ = cli(dataset)
    lines = out.splitlines()
    assert code == 1 and len(lines) == 6
    assert f"{cut.name}: cut, " in lines[0] and f"{grown.name}: grown, " in lines[1]
    assert lines[2].endswith("B-000000.tar: other bytes than recorded; damaged samples: 000000000")
    assert "000000004, 000000005, 000000006, 000000007" in lines[3]
    assert "B-000002.tar: cannot be read" in lines[4]
    assert lines[5] == "5 shards, 17 samples: 5 damaged shards"


def test_damage_between_the_samples_is_found_too(cli, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    shard = dataset / "A" / "A-000000.tar"
    data = bytearray(shard.read_bytes())
    data[0] ^= 1  # the first member's name
    shard.write_bytes(data)
    code, out, _ = cli(dataset)
    assert code == 1
    assert "A-000000.tar: other bytes than recorded; damaged samples: none" in out


def test_identical_images_are_listed_also_across_data_sets(cli, tmp_path: Path) -> None:
    a, b = write_images(tmp_path / "a", 3, seed=1), write_images(tmp_path / "b", 3, seed=2)
    (a / "again.png").write_bytes((a / "0000.png").read_bytes())
    (b / "leak.png").write_bytes((a / "0001.png").read_bytes())
    prepare(PrepareConfig(a, b, tmp_path / "train", workers=1))
    prepare(PrepareConfig(a, write_images(tmp_path / "c", 2, seed=3), tmp_path / "test", workers=1))
    code, out, _ = cli(tmp_path / "train")
    assert code == 0
    listed = [line for line in out.splitlines() if line.startswith("identical")]
    assert len(listed) == 2
    assert "A/0000.png" in out and "A/again.png" in out and "B/leak.png" in out
    assert f"1 images are in both domains of {tmp_path}/train" in out


def test_test_images_among_training_images_are_counted_and_named(cli, tmp_path: Path) -> None:
    a, b = write_images(tmp_path / "a", 3, seed=1), write_images(tmp_path / "b", 3, seed=2)
    prepare(PrepareConfig(a, b, tmp_path / "train", workers=1))
    clean = write_images(tmp_path / "c", 2, seed=3)
    prepare(PrepareConfig(clean, write_images(tmp_path / "d", 2, seed=4), tmp_path / "clean", workers=1))
    (clean / "leak.png").write_bytes((b / "0001.png").read_bytes())
    prepare(PrepareConfig(clean, a, tmp_path / "test", workers=1))
    train, test = tmp_path / "train", tmp_path / "test"
    code, out, _ = cli(train, "--against", test)
    lines = out.splitlines()
    assert code == 1 and f"4 of the 6 images of {test} are in {train} too" in lines
    assert f"{test} A/leak.png is in {train} as B/0001.png" in lines
    assert sum(line.startswith(f"{test} B/000") for line in lines) == 3
    code, out, _ = cli(train, "--against", tmp_path / "clean")
    assert code == 0 and f"0 of the 4 images of {tmp_path}/clean are in {train} too" in out


def test_a_folder_without_a_manifest_is_one_line(cli, tmp_path: Path) -> None:
    code, _, err = cli(tmp_path)
    assert code == 2 and err.count("\n") == 1


def test_decoding_finds_what_hashes_cannot(cli, tmp_path: Path) -> None:
    """A sample that never was an image, with the right hash."""
    images = {d: draw_domain(d, 2, seed=0, size=16) for d in "AB"}
    images["B"][1] = dataclasses.replace(images["B"][1], data=b"<html>")
    write_dataset(images, tmp_path / "out", samples_per_shard=5)
    assert cli(tmp_path / "out")[0] == 0
    code, out, _ = cli(tmp_path / "out", "--decode")
    assert code == 1
    assert "B-000000.tar: as recorded; damaged samples: 000000001" in out
