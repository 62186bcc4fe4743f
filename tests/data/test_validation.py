"""Images that are held out for validation when a data set is prepared."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.validation import held_out
from cyclegan_dist.errors import UsageError
from tests.conftest import write_images


def names(folder: Path) -> dict[str, set[str]]:
    return {d: set(rows["name"].to_pylist()) for d, rows in open_manifest(str(folder), SCHEMA.names).domains.items()}


def many(count: int, start: int = 0) -> dict[str, bytes | None]:
    return {f"{i}.png": f"pixels {i}".encode() for i in range(start, start + count)}


def test_the_same_images_are_held_out_whatever_their_order_and_company() -> None:
    hashes = {"A": many(100), "B": many(40, 1000)}
    taken = held_out(hashes, {}, 0.1, seed=0)
    assert {domain: len(found) for domain, found in taken.items()} == {"A": 10, "B": 4}
    turned = {domain: dict(reversed(found.items())) for domain, found in hashes.items()}
    assert held_out(turned, {}, 0.1, seed=0) == taken
    assert held_out(hashes, {}, 0.1, seed=1)["A"] != taken["A"]
    more = held_out({"A": many(110), "B": many(40, 1000)}, {}, 0.1, seed=0)
    assert len(more["A"] & taken["A"]) >= 8  # the order of the others has not changed
    assert {domain: len(found) for domain, found in held_out(hashes, {}, 25, seed=0).items()} == {"A": 25, "B": 25}


def test_copies_and_partners_stay_together() -> None:
    a, b = many(60), many(60, 1000)
    for i in range(0, 60, 3):
        a[f"{i}.png"] = a[f"{i + 1}.png"]  # a copy within the domain
        b[f"{1000 + i}.png"] = a[f"{i + 2}.png"]  # and one in the other
    taken = held_out({"A": a, "B": b}, {}, 20, seed=0)
    for one, other in (("A", "A"), ("A", "B"), ("B", "B")):
        theirs = {"A": a, "B": b}
        held = {theirs[one][name] for name in taken[one]}
        assert not held & {found for name, found in theirs[other].items() if name not in taken[other]}
    pairs = {("A", f"{i}.png"): f"pair {i}" for i in range(60)}
    pairs |= {("B", f"{1000 + i}.png"): f"pair {i}" for i in range(60)}
    taken = held_out({"A": many(60), "B": many(60, 1000)}, pairs, 12, seed=0)
    assert {int(name[:-4]) + 1000 for name in taken["A"]} == {int(name[:-4]) for name in taken["B"]}


@pytest.mark.parametrize("validation", [0.05, 3, 20])
def test_too_few_and_too_many_are_refused(validation: float) -> None:
    with pytest.raises(UsageError, match=r"holds out \d+ of 20 images of domain A: distances need 4, and training"):
        held_out({"A": many(20), "B": many(60, 1000)}, {}, validation, seed=0)


@pytest.mark.parametrize("value", [-0.1, 2.5, float("nan"), float("inf")])
def test_what_is_no_share_and_no_number_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(UsageError, match=r"give a share, as 0\.1, or a number"):
        PrepareConfig(tmp_path, tmp_path, tmp_path / "out", validation=value)


def test_one_command_makes_both_parts_and_leaves_the_test_part(folders, tmp_path: Path, capsys) -> None:
    for i in range(3):  # the same pixels in another format
        Image.open(folders[1] / f"000{i}.png").save(folders[1] / f"copy{i}.bmp")
    out = tmp_path / "out"
    config = PrepareConfig(folders[0], folders[1], out, validation=4, workers=1, samples_per_shard=3)
    prepare(config)
    train, validation = names(out), names(out / "val")
    for domain, folder in zip("AB", folders, strict=True):
        assert train[domain] | validation[domain] == {path.name for path in folder.iterdir()}
        assert not train[domain] & validation[domain] and len(validation[domain]) == 4
    for i in range(3):
        assert len({f"000{i}.png", f"copy{i}.bmp"} & validation["B"]) in (0, 2)
    shutil.copytree(out / "val", out / "test")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    prepare(config)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    with pytest.raises(UsageError, match="holds another data set"):
        prepare(PrepareConfig(folders[0], folders[1], out, validation=5, workers=1))
    with pytest.raises(UsageError, match=f"{out / 'val'} would stay.*: give --validation.* or remove {out / 'val'}"):
        prepare(PrepareConfig(folders[0], folders[1], out, overwrite=True, workers=1))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    prepare(replace(config, validation=5, overwrite=True))
    assert len(names(out / "val")["A"]) == 5


def test_an_unreadable_image_is_never_held_out(tmp_path: Path) -> None:
    folders = write_images(tmp_path / "A", 8), write_images(tmp_path / "B", 8, seed=2)
    (folders[0] / "bad.png").write_text("nothing")
    config = PrepareConfig(folders[0], folders[1], tmp_path / "out", validation=4, workers=1, max_bad_fraction=0.5)
    prepare(config)
    assert len(names(tmp_path / "out")["A"]) == len(names(tmp_path / "out/val")["A"]) == 4
