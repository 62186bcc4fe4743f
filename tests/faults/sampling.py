"""Drills C5, C7 to C10 and C14: duplicate images, unusual data set sizes, and the order of samples after resuming."""

import itertools
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.loader import Batch, RankSlice, batches
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.data.plan import Plan
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.verify import identical
from cyclegan_dist.errors import UsageError
from tests.conftest import write_images
from tests.faults.matrix import Measured, Stage, row
from tests.faults.reading import drawn
from tests.ranks import run_ranks
from tests.training.trainings import go, records


def stream(
    dataset: Path | str, *, rank: int = 0, ranks: int = 1, first_step: int = 0, batch_size: int = 4, workers: int = 0
) -> Iterator[Batch]:
    """One rank's batches, endlessly."""
    manifest = open_manifest(str(dataset))
    plan, config = Plan(manifest.samples, 0, batch_size), DataConfig(load_size=20, crop_size=16, workers=workers)
    share, channels = RankSlice(rank, ranks, batch_size // ranks), {"A": 3, "B": 3}
    return batches(manifest, plan, config, share, first_step=first_step, multiple=4, channels=channels)


@row(
    "C5",
    "the same image twice, in both domains, or in training and test data",
    "verify lists them; no position is repeated",
)
def duplicates(stage: Stage) -> Measured:
    a, b = write_images(stage.folder / "a", 5, seed=1), write_images(stage.folder / "b", 5, seed=2)
    shutil.copy(a / "0000.png", a / "twin.png")
    shutil.copy(a / "0001.png", b / "leak.png")
    prepare(PrepareConfig(a, b, stage.folder / "train", workers=1))
    prepare(PrepareConfig(write_images(stage.folder / "c", 3, seed=3), a, stage.folder / "test", workers=1))
    train, test = (open_manifest(str(stage.folder / name), SCHEMA.names) for name in ("train", "test"))
    inside, across = len(list(identical([train]))), len(list(identical([train, test])))
    counts = Counter(key for batch in itertools.islice(stream(stage.folder / "train"), 3) for key in batch.keys_A)
    figure = (
        f"groups listed within data sets {inside} of 2, across them {across} of 5; repeated in a pass of 6: "
        f"{max(counts.values()) // 3}"
    )
    return Measured(figure, (inside, across) == (2, 5) and max(counts.values()) == 2)


@row(
    "C7",
    "fewer shards than ranks and loader workers; one shard; shards of one sample",
    "all ranks take the same number of steps; nothing hangs",
)
def few_shards(stage: Stage) -> Measured:
    steps: set[int] = set()
    began = time.monotonic()
    for name, (a, b, each) in {"one": (9, 9, 100), "single": (2, 1, 1)}.items():
        dataset = drawn(stage.folder / name, a, b, each)
        options = {"data__path": str(dataset), "data__workers": 2, "optim__batch_size": 4, "stop_after": 24}
        config = stage.run(name=name, schedule__n_epochs=30, every__log=4, **options)
        assert run_ranks(lambda world, config=config: go(config, world), 4) == ["FINISHED"] * 4
        steps.add(max(r["step"] for r in records(config) if r["kind"] == "metrics"))
    plan = Plan({"A": 100, "B": 7}, 0, 128)
    shares = {len(plan.positions(0, rank, 64)) for rank in range(64)}
    figure = (
        f"4 ranks with 2 workers each on 2 and on 3 shards: {steps} steps, done in {time.monotonic() - began:.1f} s; "
        f"64 ranks on one shard: shares of {shares}"
    )
    return Measured(figure, steps == {6} and shares == {2})


@row(
    "C8",
    "a domain without images, or with one image",
    "an empty domain is refused by name before ranks start; one image suffices for training",
)
def empty(stage: Stage) -> Measured:
    a, none = write_images(stage.folder / "a", 3), stage.folder / "none"
    none.mkdir()
    refused, longest = 0, 0.0
    for folders in ((none, a), (a, none)):
        began = time.monotonic()
        try:
            prepare(PrepareConfig(*folders, stage.folder / "out", workers=1))
        except UsageError as error:
            refused += str(none) in str(error)
        longest = max(longest, time.monotonic() - began)
    prepare(PrepareConfig(a, write_images(stage.folder / "single", 1), stage.folder / "out", workers=1))
    status = go(stage.run(data__path=str(stage.folder / "out")))
    return Measured(
        f"refused {refused} of 2 within {longest:.2f} s; with one image {status}", refused == 2 and longest < 5
    )


@row("C9", "a thousand images of A, ten of B", "every image of A once per pass; random pairs")
def unequal_domains(stage: Stage) -> Measured:
    plan = Plan({"A": 1000, "B": 10}, stage.seed, 1)
    passes = stage.times(20, 200)
    pairs = np.zeros((1000, 10))
    for position in range(1000 * passes):
        pairs[plan.sample("A", position), plan.sample("B", position)] += 1
    covered = (pairs.sum(1) == passes).mean()
    chi2, free = ((pairs - passes / 10) ** 2 / (passes / 10)).sum(), 1000 * 9
    z = (chi2 - free) / np.sqrt(2 * free)
    return Measured(
        f"coverage {covered:.0%} in each of {passes} passes; pairing chi2 {chi2:.0f} of {free} expected (z {z:+.1f})",
        covered == 1 and abs(z) < 4,
    )


@row(
    "C10",
    "the batch size does not divide the number of images",
    "all ranks take the same number of steps; no image is dropped or padded",
)
def remainder(stage: Stage) -> Measured:
    plan, ranks = Plan({"A": 10, "B": 7}, 0, 6), 3
    samples = [
        plan.sample("A", p) for step in range(5) for rank in range(ranks) for p in plan.positions(step, rank, ranks)
    ]
    counts = Counter(samples)
    shares = {len(plan.positions(step, rank, ranks)) for step in range(5) for rank in range(ranks)}
    figure = f"10 images, batch 6, 3 ranks, 5 steps: shares of {shares}, each image {set(counts.values())} times"
    return Measured(figure, shares == {2} and set(counts.values()) == {3} and len(counts) == 10)


@row(
    "C14",
    "a run is resumed at any step of an epoch",
    "no sample is lost or repeated, for any number of ranks and workers",
    slow=True,
)
def any_step(stage: Stage) -> Measured:
    dataset = drawn(stage.folder / "d", 30, 17, each=7)
    steps, wrong, tried = 5, 0, 0
    whole = [batch.keys_A + batch.keys_B for batch in itertools.islice(stream(dataset, batch_size=12), steps)]
    for ranks in (1, 2, 3, 4):
        for workers in (0, 2) if stage.thorough or ranks == 2 else (0,):
            for first in range(steps):
                parts = [
                    [batch for batch in itertools.islice(stream(dataset, rank=r, ranks=ranks, first_step=first,
                     batch_size=12, workers=workers), steps - first)] for r in range(ranks)
                ]  # fmt: skip
                got = [
                    [k for part in parts for k in part[i].keys_A] + [k for part in parts for k in part[i].keys_B]
                    for i in range(steps - first)
                ]
                tried, wrong = tried + 1, wrong + (got != whole[first:])
    return Measured(f"{tried} resumptions with 1 to 4 ranks: other samples or another order in {wrong}", wrong == 0)
