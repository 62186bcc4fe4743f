"""data.direction and data.max_samples: which images of a data set are domain A and domain B of a run."""

import dataclasses
from pathlib import Path

import pytest
import torch

from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.images import decode
from cyclegan_dist.data.loader import RankSlice, batches
from cyclegan_dist.data.manifest import SCHEMA, Manifest, open_manifest
from cyclegan_dist.data.plan import Plan
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.data.verify import samples_by_shard
from cyclegan_dist.errors import UsageError
from tests.conftest import write_images


@pytest.fixture
def manifest(dataset: Path) -> Manifest:
    return open_manifest(str(dataset), SCHEMA.names)


def test_b_to_a_exchanges_the_domains_and_nothing_else(manifest: Manifest) -> None:
    other = manifest.selected("BtoA")
    assert other.samples == {"A": 10, "B": 7} and other.digest == manifest.digest
    for here, there in ("AB", "BA"):
        assert other.domain_digest(here) == manifest.domain_digest(there)
        ours, theirs = (ShardReader(m, d) for m, d in ((other, here), (manifest, there)))
        assert [ours.read(i) for i in range(len(ours))] == [theirs.read(i) for i in range(len(theirs))]
        assert other.domains[here]["domain"].to_pylist() == [here] * len(ours)
    assert {shard: domain for shard, (domain, _) in samples_by_shard(other).items()} == {
        shard: {"A": "B", "B": "A"}[domain] for shard, (domain, _) in samples_by_shard(manifest).items()
    }
    assert other.selected("BtoA").table.to_pylist() == manifest.table.to_pylist()
    assert manifest.selected() is manifest


def test_b_to_a_exchanges_values_and_bands(manifest: Manifest) -> None:
    deep = ValueRange("uint16", 0, 4095)
    given = dataclasses.replace(manifest, values={"A": deep, "B": None}, bands={"A": None, "B": [3, 1]})
    other = given.selected("BtoA")
    assert other.values == {"A": None, "B": deep} and other.bands == {"A": [3, 1], "B": None}


def test_max_samples_takes_the_first_of_each_domain(manifest: Manifest) -> None:
    few = manifest.selected(max_samples=8)
    assert few.samples == {"A": 7, "B": 8}
    assert few.domains["B"]["key"].to_pylist() == manifest.domains["B"]["key"].to_pylist()[:8]
    assert few.domain_digest("A") == manifest.domain_digest("A") and few.digest == manifest.digest
    assert few.domain_digest("B") != manifest.domain_digest("B")
    swapped = manifest.selected("BtoA", 3)
    assert swapped.domains["A"]["sha256"].to_pylist() == manifest.domains["B"]["sha256"].to_pylist()[:3]


def test_pairs_are_selected_together(tmp_path: Path) -> None:
    a, b = write_images(tmp_path / "A", 6, seed=1), write_images(tmp_path / "B", 6, seed=2)
    prepare(PrepareConfig(a, b, tmp_path / "out", pairs="names", workers=1))
    manifest = open_manifest(str(tmp_path / "out"), SCHEMA.names)
    for direction in ("AtoB", "BtoA"):
        few = manifest.selected(direction, 4)
        names = [few.domains[domain]["name"].to_pylist() for domain in "AB"]
        assert [names[1][i] for i in few.partners()] == names[0]
    apart = dataclasses.replace(manifest, table=manifest.table.take([*range(6), *reversed(range(6, 12))]))
    with pytest.raises(
        UsageError, match=r"domain A has no partner among the 2 images of B: give another data.max_samp"
    ):
        apart.selected(max_samples=2).partners()


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_reads_the_selected_images_in_serial_order(dataset: Path, workers: int) -> None:
    manifest = open_manifest(str(dataset), SCHEMA.names).selected("BtoA", 5)
    config = DataConfig(preprocess="none", flip=False, workers=workers, direction="BtoA", pairing="serial")
    plan = Plan(manifest.samples, 0, 2, pairing=config.pairing)
    loader = batches(manifest, plan, config, RankSlice(0, 1, 2), first_step=1, multiple=4, channels={"A": 3, "B": 3})
    found = [next(loader) for _ in range(4)]
    loader.close()
    keys = {domain: manifest.domains[domain]["key"].to_pylist() for domain in "AB"}
    for domain in "AB":
        wanted = [f"{domain}/{keys[domain][p % 5]}" for p in range(2, 10)]
        assert [key for batch in found for key in getattr(batch, f"keys_{domain}")] == wanted
    prepared_as_B = ShardReader(open_manifest(str(dataset)), "B").read(2)
    assert torch.equal(found[0].A[0], decode(prepared_as_B, 3))
