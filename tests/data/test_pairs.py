"""Data sets with pairs: partners are loaded together and cropped alike. Here B is the negative of A."""

import dataclasses
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.loader import Batch, RankSlice, batches, fixed_images
from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.data.plan import Plan
from cyclegan_dist.errors import UsageError
from tests.conftest import write_images
from tests.ranks import run_ranks
from tests.training.trainings import go

RGB = {"A": 3, "B": 3}
# In A the second name comes after the first, in B before it: partners are found by name, not by position.
NAMES = (("a.s.png", "a.s.png"), ("a.tif", "a.png"), *((f"{i}.png", f"{i}.png") for i in range(5)))
PIX2PIX = {
    "method__name": "pix2pix",
    "method__generator__arch": "resnet",
    "data__preprocess": "crop",
    "optim__precision": "fp64",
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for domain in "AB":
        (root / domain).mkdir()
    for a, b in NAMES:
        pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "A" / a)
        Image.fromarray(255 - pixels).save(root / "B" / b)
    return prepared(root)


def prepared(root: Path, pairs: Literal["names", "some"] = "names") -> Path:
    from cyclegan_dist.data.prepare import prepare
    from cyclegan_dist.data.prepare_config import PrepareConfig

    out = root / f"out_{pairs}"
    prepare(PrepareConfig(root / "A", root / "B", out, pairs=pairs, workers=1))
    return out


def read(dataset: Path, count: int, **config) -> list[Batch]:
    manifest = open_manifest(str(dataset), (*READING, "name"))
    settings = DataConfig(**{"preprocess": "crop", "crop_size": 16, "workers": 0, **config})
    plan = Plan(manifest.samples, 0, 2, partners=manifest.partners())
    stream = batches(manifest, plan, settings, RankSlice(0, 1, 2), first_step=0, multiple=4, channels=RGB)
    return list(islice(stream, count))


def test_partners_are_loaded_together_and_cropped_alike(pairs: Path) -> None:
    found = read(pairs, 28)
    for batch in found:
        assert torch.equal(batch.B, 255 - batch.A)
    assert len({key for batch in found for key in batch.keys_A}) == len(NAMES)
    assert len({image.numpy().tobytes() for batch in found for image in batch.A}) > 2 * len(NAMES)  # crops differ


def test_each_pair_is_seen_once_in_an_epoch(pairs: Path) -> None:
    keys = [key for batch in read(pairs, 7) for key in batch.keys_B]
    assert sorted(keys[:7]) == sorted(keys[7:14]) and len(set(keys[:7])) == 7


def test_fixed_images_are_pairs(pairs: Path) -> None:
    manifest = open_manifest(str(pairs), (*READING, "name"))
    plan = Plan(manifest.samples, 0, 1, partners=manifest.partners())
    config = DataConfig(preprocess="crop", crop_size=16)
    images = fixed_images(manifest, plan, config, count=4, multiple=4, channels=RGB)
    assert len(images["real_A"]) == 4
    assert torch.equal(images["real_B"], 255 - images["real_A"])


def test_a_damaged_pair_is_replaced_by_another(pairs: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(pairs, tmp_path / "copy"))
    manifest = open_manifest(str(copy), (*READING, "name"))
    row = manifest.domains["B"].slice(0, 1).to_pylist()[0]
    shard = copy / row["shard"]
    data = bytearray(shard.read_bytes())
    data[row["offset"] + 40] ^= 1
    shard.write_bytes(data)
    found = read(copy, 14, max_bad_fraction=0.5)
    assert all(torch.equal(batch.B, 255 - batch.A) for batch in found)
    assert {bad.domain for batch in found for bad in batch.bad} == {"B"}


def test_a_data_set_without_pairs_is_refused(tiny_run: Callable[..., Config]) -> None:
    with pytest.raises(UsageError, match=r"has no pairs, and this method learns from pairs: .*--pairs names"):
        tiny_run(**{**PIX2PIX, "data__preprocess": "resize_and_crop"})


def test_partners_of_different_sizes_are_refused_where_they_are_not_resized(
    tiny_run: Callable[..., Config], tmp_path: Path
) -> None:
    write_images(tmp_path / "A", 2, size=24)
    write_images(tmp_path / "B", 2, size=32)
    dataset = str(prepared(tmp_path))
    with pytest.raises(UsageError, match=r"0000.png of domain A has 24x24 pixels and its partner 32x32"):
        tiny_run(data__path=dataset, **PIX2PIX)
    tiny_run(**{**PIX2PIX, "data__path": dataset, "data__preprocess": "resize_and_crop"})


@pytest.fixture(scope="module")
def some(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pairs, and three images of A and one of B without a partner."""
    import shutil

    root = tmp_path_factory.mktemp("some")
    for domain in "AB":
        shutil.copytree(pairs.parent / domain, root / domain)
    for name in ("A/x.png", "A/y.png", "A/z.png", "B/w.png"):
        Image.new("RGB", (32, 24)).save(root / name)
    return prepared(root, "some")


def read_some(
    dataset: Path, count: int, *, rank: int = 0, ranks: int = 1, first: int = 0, most: int = 0
) -> list[Batch]:
    manifest = open_manifest(str(dataset), (*READING, "name"))
    settings = DataConfig(preprocess="crop", crop_size=16, workers=0)
    plan = Plan(manifest.samples, 0, 2, pairs=manifest.pairs(most))
    share = RankSlice(rank, ranks, 2 // ranks)
    return list(islice(batches(manifest, plan, settings, share, first_step=first, multiple=4, channels=RGB), count))


def test_some_pairs_are_drawn_beside_the_images_and_cropped_alike(some: Path, pairs: Path) -> None:
    manifest = open_manifest(str(some), (*READING, "name"))
    assert (manifest.samples, manifest.paired, manifest.partly_paired) == ({"A": 10, "B": 8}, False, True)
    found = read_some(some, 35)
    for batch in found:
        assert torch.equal(batch.pairs["pair_B"], 255 - batch.pairs["pair_A"])
    keys = [key for batch in found for key in batch.keys_pairs if key.startswith("A/")]
    assert len(set(keys)) == 7 and all(len(set(keys[i : i + 7])) == 7 for i in range(0, 70, 7))  # each once in a pass
    plan = Plan(manifest.samples, 0, 2)
    share, settings = RankSlice(0, 1, 2), DataConfig(preprocess="crop", crop_size=16, workers=0)
    alone = list(islice(batches(manifest, plan, settings, share, first_step=0, multiple=4, channels=RGB), 35))
    assert [batch.keys_A + batch.keys_B for batch in alone] == [batch.keys_A + batch.keys_B for batch in found]
    assert len({key for batch in read_some(some, 20, most=2) for key in batch.keys_pairs}) == 4
    assert len(open_manifest(str(pairs), (*READING, "name")).pairs()) == 7  # where all are pairs, some are known too


def test_some_pairs_do_not_depend_on_ranks_or_on_where_a_run_is_resumed(some: Path) -> None:
    whole = read_some(some, 9)
    parts = [read_some(some, 9, rank=rank, ranks=2) for rank in range(2)]
    for i, batch in enumerate(whole):
        both = torch.cat([part[i].pairs["pair_A"] for part in parts])
        assert torch.equal(both, batch.pairs["pair_A"])
    assert torch.equal(read_some(some, 1, first=8)[0].pairs["pair_B"], whole[8].pairs["pair_B"])


def test_methods_say_which_pairs_they_need(some: Path, tiny_run: Callable[..., Config], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no pairs, and this method learns from some: .*--pairs some"):
        tiny_run(method__lambda_pair=1.0)
    with pytest.raises(UsageError, match=r"has some pairs, and this method learns from pairs: .*--pairs names"):
        tiny_run(**PIX2PIX, data__path=str(some))
    write_images(tmp_path / "A", 2)
    write_images(tmp_path / "B", 2, extension="jpg")
    for file in (tmp_path / "B").iterdir():
        file.rename(file.with_stem(f"other{file.stem}"))
    with pytest.raises(UsageError, match="--pairs some: no name of A_DIR is also one of B_DIR"):
        prepared(tmp_path, "some")


def test_the_first_pairs_are_the_same_in_both_directions(some: Path) -> None:
    manifest = open_manifest(str(some), (*READING, "name"))
    exchanged, names = manifest.selected("BtoA"), manifest.domains["A"]["name"].to_pylist()
    there = len(manifest.pairs())
    for count in range(1, there + 1):
        chosen = {names[a] for a, _ in manifest.pairs(count)}
        assert len(chosen) == count and chosen == {names[a] for _, a in exchanged.pairs(count)}
    with pytest.raises(UsageError, match=rf"has {there} pairs: give --data.max_pairs {there} or less"):
        manifest.pairs(there + 1)


@pytest.mark.parametrize(("options", "learned"), [({}, "no pairs"), (PIX2PIX, "all pairs")])
def test_a_number_of_pairs_is_refused_where_it_would_not_count(
    options: dict[str, str], learned: str, tiny_run: Callable[..., Config]
) -> None:
    with pytest.raises(UsageError, match=f"data.max_pairs 3: method .* learns from {learned}"):
        tiny_run(**options, data__max_pairs=3)


def test_with_some_pairs_two_ranks_equal_one_and_a_resumed_run_an_uninterrupted(
    some: Path, tiny_run: Callable[..., Config]
) -> None:
    options = {
        **{"method__lambda_pair": 5.0, "method__pool_size": 0, "optim__precision": "fp64", "data__preprocess": "crop"},
        **{"data__path": str(some), "optim__batch_size": 2, "data__max_pairs": 3, "every__checkpoint": 2},
    }

    def weights(config: Config) -> dict[str, torch.Tensor]:
        newest = max((config.run_dir / "checkpoints").glob("step-*"))
        return torch.load(newest / "shared.pt", weights_only=True)["step"]["networks"]

    one, two, cut = (tiny_run(name=name, **options) for name in ("one", "two", "cut"))
    assert go(one) == "FINISHED"
    assert set(run_ranks(lambda world: go(two, world), 2)) == {"FINISHED"}
    first, second = weights(one), weights(two)
    kept = [key for key in first if key.endswith("weight")]  # biases before instance norm hold amplified rounding noise
    assert max(float((first[key] - second[key]).abs().max()) for key in kept) < 1e-9
    assert go(dataclasses.replace(cut, stop_after=4)) == "FINISHED"
    assert go(cut) == "FINISHED"
    assert all(torch.equal(first[key], value) for key, value in weights(cut).items())


def test_pix2pix_learns_the_negative_and_two_ranks_equal_one(pairs: Path, tiny_run: Callable[..., Config]) -> None:
    def weights(config: Config) -> dict[str, torch.Tensor]:
        newest = max((config.run_dir / "checkpoints").glob("step-*"))
        return torch.load(newest / "shared.pt", weights_only=True)["step"]["networks"]

    options = {**PIX2PIX, "method__generator__dropout": False, "data__path": str(pairs), "every__samples": 8}
    one, two = tiny_run(name="one", **options), tiny_run(name="two", **options)
    assert go(one) == "FINISHED"
    assert set(run_ranks(lambda world: go(two, world), 2)) == {"FINISHED"}
    first, second = weights(one), weights(two)
    assert max(float((first[key] - second[key]).abs().max()) for key in first) < 1e-9  # 2e-10 with torch 2.11
    assert list((one.run_dir / "samples").glob("*.png"))
    assert not (one.run_dir / "snapshots" / "nimg-000000028" / "G_BA.safetensors").exists()
