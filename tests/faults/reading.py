"""Drills C1, C2, C11 and C12: damaged shards, samples that are not images, and unreliable storage."""

import itertools
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import webdataset as wds

from cyclegan_dist.data import reader as reading
from cyclegan_dist.data.encode import EncodedImage
from cyclegan_dist.data.manifest import Manifest, open_manifest
from cyclegan_dist.data.reader import BadSampleError, DataError, ShardReader
from cyclegan_dist.data.shards import write_dataset
from cyclegan_dist.data.synthetic import draw_domain
from cyclegan_dist.data.verify import check_shard, samples_by_shard
from cyclegan_dist.errors import UsageError
from tests.faults.matrix import Measured, Stage, row
from tests.servers import http_server
from tests.training.trainings import go, records


def drawn(out: Path, a: int, b: int, each: int = 1000) -> Path:
    """Write a data set of synthetic images to `out`."""
    write_dataset({"A": draw_domain("A", a, seed=0, size=24), "B": draw_domain("B", b, seed=0, size=24)}, out,
                  samples_per_shard=each)  # fmt: skip
    return out


def reading_fails(dataset: Path) -> bool:
    """Whether reading every sample of A raises."""
    reader = ShardReader(open_manifest(str(dataset)), "A")
    try:
        for index in range(len(reader)):
            reader.read(index)
    except DataError as error:
        assert ".tar" in str(error)
        return True
    return False


def verify_passes(dataset: Path) -> bool:
    """Whether `pipelines.verify` finds no problem."""
    manifest = open_manifest(str(dataset))
    return not any(check_shard(manifest, shard, *samples) for shard, samples in samples_by_shard(manifest).items())


def lost_by_streaming(shard: Path, samples: int) -> bool:
    """Whether webdataset yields fewer samples without an exception."""
    try:
        return len(list(wds.WebDataset(str(shard), shardshuffle=False))) < samples
    except Exception:
        return False


@row("C1", "a shard is truncated, or 512 bytes of it are overwritten", "reading names the shard; verify finds it")
def cut(stage: Stage) -> Measured:
    dataset = drawn(stage.folder / "d", 20, 2)
    shard = dataset / "A" / "A-000000.tar"
    whole = shard.read_bytes()
    rows = open_manifest(str(dataset)).domains["A"].to_pylist()
    headers = [row["offset"] - 512 for row in rows]
    cuts = [*headers, *(stage.random.randrange(len(whole)) for _ in range(stage.times(10, 200)))]
    read = verified = silent = 0
    for offset in cuts:
        shard.write_bytes(whole[:offset])
        read, verified = read + (not reading_fails(dataset)), verified + verify_passes(dataset)
        silent += lost_by_streaming(shard, 20)
    kept = undetected = 0
    for offset in headers:
        shard.write_bytes(whole[:offset] + stage.random.randbytes(512) + whole[offset + 512 :])
        kept += not reading_fails(dataset)  # offsets come from the manifest, so no sample is lost with a header
        undetected += verify_passes(dataset)
    figure = (
        f"{len(cuts)} truncations, {len(headers)} of them between members: undetected by reading {read}, by verify "
        f"{verified} (streaming with webdataset loses samples silently at {silent}); {len(headers)} headers "
        f"overwritten: all samples read {kept}, undetected by verify {undetected}"
    )
    return Measured(figure, read == verified == undetected == 0 and kept == len(headers))


@row(
    "C2",
    "samples are not images: text, empty, half a JPEG",
    "each is reported once and replaced, within the budget",
)
def not_images(stage: Stage) -> Measured:
    images = {d: draw_domain(d, 20, seed=0, size=24) for d in "AB"}
    inserted = {"A/3": b"<html>404</html>", "A/7": b"\0", "B/5": images["B"][5].data[:200]}
    for name, data in inserted.items():
        domain, number = name.split("/")
        good = images[domain][int(number)]
        bad = EncodedImage(**{**vars(good), "data": data})
        images[domain][int(number)] = bad
    write_dataset(images, stage.folder / "d", samples_per_shard=10)
    options = {"data__path": str(stage.folder / "d"), "optim__batch_size": 2, "schedule__n_epochs": 1}
    config = stage.run(name="budget", data__max_bad_fraction=0.2, schedule__n_epochs_decay=0, **options)
    status = go(config)
    reported = sorted(r["text"].split()[2] for r in records(config) if r.get("text", "").startswith("left out"))
    expected = sorted(f"{name[0]}/{int(name[2:]):09d}" for name in inserted)
    try:
        go(stage.run(name="strict", **options))
        strict = "continued"
    except DataError:
        strict = "stopped"
    figure = (
        f"inserted {len(inserted)}, reported {len(reported)}, the same: {reported == expected}; {status}; without a "
        f"budget: {strict}"
    )
    return Measured(figure, reported == expected and status == "FINISHED" and strict == "stopped")


@row(
    "C11",
    "a shard is deleted or replaced while it is read",
    "reading continues if the bytes are right; otherwise the shard is named",
)
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


@row(
    "C12",
    "storage is slow, or every other request fails",
    "requests are retried; nothing is lost; the delay is measured",
)
def intermittent(stage: Stage) -> Measured:
    pauses, reading.PAUSES_S = reading.PAUSES_S, (0.01, 0.02, 0.05)
    try:
        undisturbed, quick = timed(stage.dataset)
        disturbed, slow = timed(stage.dataset, fails_every=2, delay_s=0.02)
    finally:
        reading.PAUSES_S = pauses
    figure = (
        f"14 samples over HTTP {quick:.2f} s; with a delay of 20 ms and an error in every 2nd response {slow:.2f} s, "
        f"equal: {disturbed == undisturbed}"
    )
    return Measured(figure, disturbed == undisturbed)


def timed(dataset: Path, **trouble: float) -> tuple[list[bytes], float]:
    """Read fourteen samples over HTTP. Returns the samples and the seconds."""
    with http_server(dataset, **trouble) as url:  # type: ignore[arg-type]
        manifest = retried(lambda: open_manifest(url))
        readers = {d: ShardReader(manifest, d) for d in "AB"}
        began = time.monotonic()
        return [readers[d].read(i) for d in "AB" for i in range(7)], time.monotonic() - began


def retried(work: Callable[[], Manifest]) -> Manifest:
    """Retry opening the manifest, which the library does not: it is opened at the start, where users see the error."""
    for _ in range(5):
        try:
            return work()
        except UsageError:
            continue
    raise AssertionError("the server failed five times")
