"""Damaged samples within the limit are replaced and reported once; too many end the run on all ranks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.data.reader import DataError
from cyclegan_dist.step.distributed import World
from tests.ranks import run_ranks
from tests.training.trainings import differences, final_state, go, records

MakeRun = Callable[..., Config]


@pytest.fixture
def damaged(dataset: Path, tmp_path: Path) -> Path:
    """The data set with samples 2 of A and 1 and 5 of B damaged."""
    copy = Path(shutil.copytree(dataset, tmp_path / "damaged"))
    damage(copy, "A", 2), damage(copy, "B", 1), damage(copy, "B", 5)
    return copy


def damage(dataset: Path, domain: str, index: int) -> None:
    row = open_manifest(str(dataset), SCHEMA.names).domains[domain].to_pylist()[index]
    with (dataset / row["shard"]).open("r+b") as shard:
        shard.seek(row["offset"] + 40)
        byte = shard.read(1)
        shard.seek(-1, 1)
        shard.write(bytes([byte[0] ^ 0xFF]))


def listed(config: Config) -> list[str]:
    lines = (config.run_dir / "bad_samples.jsonl").read_text().splitlines()
    return [f"{sample['domain']}/{int(sample['key'])}" for sample in map(json.loads, lines)]


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 2), (2, 0)])
def test_each_damaged_sample_is_reported_once_and_the_run_continues(
    tiny_run: MakeRun, damaged: Path, ranks: int, workers: int
) -> None:
    config = tiny_run(data__path=str(damaged), data__max_bad_fraction=0.3, data__workers=workers)
    if ranks == 1:
        assert go(config) == "FINISHED"
    else:
        assert run_ranks(lambda world: go(config, world), ranks) == ["FINISHED"] * ranks
    assert sorted(listed(config)) == ["A/2", "B/1", "B/5"]
    messages = [record["text"] for record in records(config) if record["kind"] == "message"]
    assert sum("left out A/000000002" in text for text in messages) == 1
    last = [record for record in records(config) if record["kind"] == "metrics"][-1]
    assert last["values"]["data/bad_samples"] == 3


def test_a_resumed_run_replaces_them_equally_and_does_not_report_them_again(tiny_run: MakeRun, damaged: Path) -> None:
    options = {"data__path": str(damaged), "data__max_bad_fraction": 0.3}
    whole = tiny_run(name="whole", **options)
    go(whole)
    go(tiny_run(name="cut", stop_after=26, **options))
    resumed = tiny_run(name="cut", **options)
    go(resumed)
    assert sorted(listed(resumed)) == sorted(listed(whole))
    assert differences(final_state(whole, 1), final_state(resumed, 1)) == []


def test_by_default_the_first_damaged_sample_ends_the_run(tiny_run: MakeRun, damaged: Path) -> None:
    with pytest.raises(DataError, match=r"\.tar, sample [AB]/\d+: its bytes differ"):
        go(tiny_run(data__path=str(damaged)))


def test_too_many_damaged_samples_end_the_run_on_all_ranks(tiny_run: MakeRun, damaged: Path) -> None:
    config = tiny_run(data__path=str(damaged), data__max_bad_fraction=0.15)  # one of A, one of B

    def work(world: World) -> str:
        with pytest.raises(DataError) as error:
            go(config, world)
        return str(error.value)

    messages = run_ranks(work, 2)
    assert all("2 of 10 samples of domain B are damaged" in text for text in messages)
