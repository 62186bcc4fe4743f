"""Benchmark of a data set with ten million samples: time to the first batch, and memory of a rank and its workers.

    python -m benchmarks.large_manifest A_DIR B_DIR [--samples 10000000] [--workers 2]

The manifest lists the images of the two folders repeatedly; the shards contain each of them once.
"""

import itertools
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import tyro

from benchmarks.machine import environment
from cyclegan_dist.data.config import CHECKSUM, DataConfig
from cyclegan_dist.data.loader import RankSlice, batches
from cyclegan_dist.data.manifest import MANIFEST, SCHEMA, open_manifest
from cyclegan_dist.data.plan import DOMAINS, Plan
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError, run_command

BATCH = 4
CHUNK = 1_000_000  # rows written at a time


def make(a_dir: Path, b_dir: Path, dataset: Path, samples: int) -> None:
    """Prepare a data set and repeat its manifest's rows until each domain has `samples` / 2 samples."""
    prepare(PrepareConfig(a_dir, b_dir, dataset))
    path = dataset / MANIFEST
    known = pq.read_table(path)
    facts = json.loads(known.schema.metadata[b"cyclegan_dist"])
    for shard in facts["shards"].values():
        del shard["samples"]  # rows are repeated
    (dataset / CHECKSUM).unlink()
    with pq.ParquetWriter(path, SCHEMA.with_metadata({"cyclegan_dist": json.dumps(facts)}), compression="zstd") as out:
        for domain in DOMAINS:
            rows = known.filter(pc.equal(known["domain"], domain))  # pyright: ignore[reportAttributeAccessIssue]
            for start in range(0, samples // 2, CHUNK):
                numbers = range(start, min(start + CHUNK, samples // 2))
                chunk = rows.take(pa.array([number % len(rows) for number in numbers]))
                keys = pa.array([f"{number:09d}" for number in numbers])
                out.write_table(chunk.set_column(SCHEMA.names.index("key"), SCHEMA.field("key"), keys).cast(SCHEMA))


def main(
    a_dir: tyro.conf.Positional[Path], b_dir: tyro.conf.Positional[Path], samples: int = 10_000_000, workers: int = 2
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print(environment("pyarrow"))
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder) / "data"
        # In a separate process, so that its memory is not counted.
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(a_dir, b_dir, dataset, samples))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise UsageError("the data set was not prepared; see above")
        before, began = _proportional_mb(os.getpid()), time.perf_counter()
        manifest = open_manifest(str(dataset))
        opened = time.perf_counter() - began
        plan = Plan(manifest.samples, 0, BATCH)
        channels = {domain: 3 for domain in DOMAINS}
        config, share = DataConfig(workers=workers), RankSlice(0, 1, BATCH)
        stream = batches(manifest, plan, config, share, first_step=0, multiple=4, channels=channels)
        next(stream)
        first = time.perf_counter() - began
        for _ in itertools.islice(stream, 20):
            pass
        pids = [c.pid for c in psutil.Process().children() if "resource_tracker" not in " ".join(c.cmdline())]
        total, together = sum(manifest.samples.values()), sum(_proportional_mb(pid) for pid in [os.getpid(), *pids])
        own = ", ".join(f"{_unique_mb(pid):.0f}" for pid in pids)
        print(f"{total:,} samples: manifest open after {opened:.1f} s, first batch of {BATCH} after {first:.1f} s")
        print(f"the rank and its {len(pids)} workers use {together - before:.0f} MB more than the rank did before")
        print(f"of which each worker's own: {own} MB")
        stream.close()


def _proportional_mb(pid: int) -> float:
    """Proportional set size of a process: shared pages are divided among the processes that share them."""
    return psutil.Process(pid).memory_full_info().pss / 1e6


def _unique_mb(pid: int) -> float:
    """Unique set size of a process: the memory that would be freed if it ended."""
    return psutil.Process(pid).memory_full_info().uss / 1e6


if __name__ == "__main__":
    run_command(lambda: tyro.cli(main, prog="python -m benchmarks.large_manifest", description=__doc__))
