"""Group C: data, from shard to batch. Decoding is in `decoding`."""

import itertools
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import webdataset as wds

from cyclegan_dist.data import reader as reading
from cyclegan_dist.data.config import DataConfig
from cyclegan_dist.data.encode import EncodedImage
from cyclegan_dist.data.loader import Batch, RankSlice, batches
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.data.plan import Plan
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.reader import BadSampleError, DataError, ShardReader
from cyclegan_dist.data.shards import write_dataset
from cyclegan_dist.data.synthetic import draw_domain
from cyclegan_dist.data.verify import check_shard, identical, samples_by_shard
from cyclegan_dist.errors import UsageError
from tests.conftest import write_images
from tests.faults.matrix import Measured, Stage, row
from tests.ranks import run_ranks
from tests.servers import http_server
from tests.training.trainings import go, records


def drawn(out: Path, a: int, b: int, each: int = 1000) -> Path:
    """A data set of drawn images at `out`."""
    write_dataset({"A": draw_domain("A", a, seed=0, size=24), "B": draw_domain("B", b, seed=0, size=24)}, out,
                  samples_per_shard=each)  # fmt: skip
    return out


def stream(
    dataset: Path | str, *, rank: int = 0, ranks: int = 1, first_step: int = 0, batch_size: int = 4, workers: int = 0
) -> Iterator[Batch]:
    """What one rank's loader gives, without end."""
    manifest = open_manifest(str(dataset))
    plan, config = Plan(manifest.samples, 0, batch_size), DataConfig(load_size=20, crop_size=16, workers=workers)
    share, channels = RankSlice(rank, ranks, batch_size // ranks), {"A": 3, "B": 3}
    return batches(manifest, plan, config, share, first_step=first_step, multiple=4, channels=channels)


def notices(dataset: Path) -> bool:
    """Whether reading every sample of A raises."""
    reader = ShardReader(open_manifest(str(dataset)), "A")
    try:
        for index in range(len(reader)):
            reader.read(index)
    except DataError as error:
        assert ".tar" in str(error)
        return True
    return False


def verifies(dataset: Path) -> bool:
    """Whether `pipelines.verify` finds nothing."""
    manifest = open_manifest(str(dataset))
    return not any(check_shard(manifest, shard, *samples) for shard, samples in samples_by_shard(manifest).items())


def lost_by_streaming(shard: Path, samples: int) -> bool:
    """Whether webdataset gives fewer samples without an exception."""
    try:
        return len(list(wds.WebDataset(str(shard), shardshuffle=False))) < samples
    except Exception:
        return False


@row("C1", "a shard is cut, or 512 bytes of it overwritten", "reading names it; verify finds it")
def cut(stage: Stage) -> Measured:
    dataset = drawn(stage.folder / "d", 20, 2)
    shard = dataset / "A" / "A-000000.tar"
    whole = shard.read_bytes()
    rows = open_manifest(str(dataset)).domains["A"].to_pylist()
    headers = [row["offset"] - 512 for row in rows]
    cuts = [*headers, *(stage.random.randrange(len(whole)) for _ in range(stage.times(10, 200)))]
    unread = unverified = silent = 0
    for place in cuts:
        shard.write_bytes(whole[:place])
        unread, unverified = unread + (not notices(dataset)), unverified + verifies(dataset)
        silent += lost_by_streaming(shard, 20)
    kept = unseen = 0
    for place in headers:
        shard.write_bytes(whole[:place] + stage.random.randbytes(512) + whole[place + 512 :])
        kept += not notices(dataset)  # positions come from the manifest: no sample is lost with a header
        unseen += verifies(dataset)
    figure = (
        f"{len(cuts)} cuts, {len(headers)} of them between members: unnoticed in reading {unread}, by verify "
        f"{unverified} (streaming with webdataset loses samples silently at {silent}); {len(headers)} headers "
        f"overwritten: all samples read {kept}, unnoticed by verify {unseen}"
    )
    return Measured(figure, unread == unverified == unseen == 0 and kept == len(headers))


@row("C2", "samples that are no images: text, empty, half a JPEG", "named once each, replaced within the budget")
def no_images(stage: Stage) -> Measured:
    images = {d: draw_domain(d, 20, seed=0, size=24) for d in "AB"}
    put_in = {"A/3": b"<html>404</html>", "A/7": b"\0", "B/5": images["B"][5].data[:200]}
    for name, data in put_in.items():
        domain, number = name.split("/")
        good = images[domain][int(number)]
        bad = EncodedImage(**{**vars(good), "data": data})
        images[domain][int(number)] = bad
    write_dataset(images, stage.folder / "d", samples_per_shard=10)
    options = {"data__path": str(stage.folder / "d"), "optim__batch_size": 2, "schedule__n_epochs": 1}
    config = stage.run(name="budget", data__max_bad_fraction=0.2, schedule__n_epochs_decay=0, **options)
    status = go(config)
    told = sorted(r["text"].split()[2] for r in records(config) if r.get("text", "").startswith("left out"))
    expected = sorted(f"{name[0]}/{int(name[2:]):09d}" for name in put_in)
    try:
        go(stage.run(name="strict", **options))
        strict = "went on"
    except DataError:
        strict = "stopped"
    figure = (
        f"put in {len(put_in)}, told {len(told)}, the same: {told == expected}; {status}; without a budget: {strict}"
    )
    return Measured(figure, told == expected and status == "FINISHED" and strict == "stopped")


@row("C5", "the same image twice, in both domains, in training and test", "verify lists them; no position comes twice")
def duplicates(stage: Stage) -> Measured:
    a, b = write_images(stage.folder / "a", 5, seed=1), write_images(stage.folder / "b", 5, seed=2)
    shutil.copy(a / "0000.png", a / "twin.png")
    shutil.copy(a / "0001.png", b / "leak.png")
    prepare(PrepareConfig(a, b, stage.folder / "train", workers=1))
    prepare(PrepareConfig(write_images(stage.folder / "c", 3, seed=3), a, stage.folder / "test", workers=1))
    train, test = (open_manifest(str(stage.folder / name), SCHEMA.names) for name in ("train", "test"))
    inside, across = len(list(identical([train]))), len(list(identical([train, test])))
    seen = Counter(key for batch in itertools.islice(stream(stage.folder / "train"), 3) for key in batch.keys_A)
    figure = (
        f"groups listed within {inside} of 2, across {across} of 5; in a pass of 6 doubled {max(seen.values()) // 3}"
    )
    return Measured(figure, (inside, across) == (2, 5) and max(seen.values()) == 2)


@row("C7", "fewer shards than ranks and loader workers; one shard; shards of one sample", "equal steps, nothing hangs")
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


@row("C8", "a domain without images, or with one", "none is refused by name before ranks start; one trains")
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


@row("C9", "a thousand images of A, ten of B", "every A once in a pass, pairs as chance has them")
def uneven(stage: Stage) -> Measured:
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


@row("C10", "a batch that does not divide the images", "equal steps on every rank, nothing dropped or filled up")
def remainder(stage: Stage) -> Measured:
    plan, ranks = Plan({"A": 10, "B": 7}, 0, 6), 3
    seen = [
        plan.sample("A", p) for step in range(5) for rank in range(ranks) for p in plan.positions(step, rank, ranks)
    ]
    each = Counter(seen)
    shares = {len(plan.positions(step, rank, ranks)) for step in range(5) for rank in range(ranks)}
    figure = f"10 images, batch 6, 3 ranks, 5 steps: shares of {shares}, each image {set(each.values())} times"
    return Measured(figure, shares == {2} and set(each.values()) == {3} and len(each) == 10)


@row("C11", "a shard is deleted or replaced while it is read", "read on where the bytes are right, else named")
def replaced(stage: Stage) -> Measured:
    def after(change: Callable[[Path], object]) -> str:
        dataset = Path(shutil.copytree(stage.dataset, stage.folder / str(next(number))))
        reader = ShardReader(open_manifest(str(dataset)), "A")
        first = reader.read(0)
        change(dataset / "A" / "A-000000.tar")
        try:
            return "recovered" if reader.read(0) == first else "wrong bytes"
        except BadSampleError as error:
            return "named" if "A-000000.tar" in str(error) else "not named"

    number = itertools.count()
    other = (stage.dataset / "B" / "B-000000.tar").read_bytes()
    found = {
        "deleted": after(lambda shard: shard.unlink()),  # still open
        "replaced by another": after(lambda shard: (shard.unlink(), shard.write_bytes(other))),
        "overwritten": after(lambda shard: shard.write_bytes(other[: shard.stat().st_size])),
        "replaced by itself": after(lambda shard: shard.write_bytes(shard.read_bytes())),
    }
    right = found["overwritten"] == "named" and {*found.values()} == {"recovered", "named"}
    return Measured(", ".join(f"{what}: {how}" for what, how in found.items()), right)


@row("C12", "storage that is slow, or fails every other time", "read again, nothing lost, the stall measured")
def intermittent(stage: Stage) -> Measured:
    pauses, reading.PAUSES_S = reading.PAUSES_S, (0.01, 0.02, 0.05)
    try:
        straight, quick = timed(stage.dataset)
        again, slow = timed(stage.dataset, fails_every=2, delay_s=0.02)
    finally:
        reading.PAUSES_S = pauses
    figure = f"14 samples over HTTP {quick:.2f} s; with 20 ms and every 2nd answer an error {slow:.2f} s, the same: {again == straight}"
    return Measured(figure, again == straight)


def timed(dataset: Path, **trouble: float) -> tuple[list[bytes], float]:
    """Fourteen samples read over HTTP, and how long that took."""
    with http_server(dataset, **trouble) as url:  # type: ignore[arg-type]
        manifest = patient(lambda: open_manifest(url))
        readers = {d: ShardReader(manifest, d) for d in "AB"}
        began = time.monotonic()
        return [readers[d].read(i) for d in "AB" for i in range(7)], time.monotonic() - began


def patient(work: Callable[[], object]):
    """The manifest is read once, at the start, where a user sees the error: here, try until it comes."""
    for _ in range(5):
        try:
            return work()
        except UsageError:
            continue
    raise AssertionError("the server failed five times")


@row(
    "C14",
    "resumed at any step of an epoch",
    "no sample lost or doubled, for any number of ranks and workers",
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
    return Measured(f"{tried} resumptions at worlds 1 to 4: other samples or another order in {wrong}", wrong == 0)
