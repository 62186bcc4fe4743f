"""Drills X1 to X3: many random kills of one run, the cost of a checkpoint, and a very large data set."""

import json
import multiprocessing
import os
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from cyclegan_dist.checkpoint.storage import LocalStorage
from cyclegan_dist.checkpoint.store import CheckpointStore, on_cpu
from cyclegan_dist.config.config import Config
from cyclegan_dist.data.loader import Batch
from cyclegan_dist.data.manifest import MANIFEST, SCHEMA, open_manifest
from cyclegan_dist.data.plan import BLOCK, Plan
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.step import distributed
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.update import Step
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.parts import Parts
from tests.faults.forked_processes import in_fork
from tests.faults.matrix import Measured, Stage, row
from tests.faults.ray_heads import free_port
from tests.training.trainings import ALONE, differences, final_state, go

# --- random kills


def train_and_record(config: Config, rank: int, size: int, port: int, folder: Path) -> None:
    """Run one rank, and record the samples of each step before the step."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    errors = os.open(folder / f"rank-{rank}.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 2)  # surviving ranks print a traceback at each kill
    with (folder / f"rank-{rank}.jsonl").open("a", buffering=1) as file:

        def recorded(parts: Parts, hooks: Hooks, at: Progress, loader: Iterator[Batch]) -> Iterator[Batch]:
            for step, batch in enumerate(loader, start=at.step):
                file.write(json.dumps({"step": step, "A": batch.keys_A, "B": batch.keys_B}) + "\n")
                yield batch

        world = distributed.join("cpu", 60)
        go(config, world, recorded)
        distributed.leave()


def samples_of(folder: Path, rank: int) -> list[dict[str, Any]]:
    """The samples of each step that a rank recorded."""
    path = folder / f"rank-{rank}.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def attempt(config: Config, folder: Path, kill: tuple[int, float, int] | None) -> None:
    """Run two ranks; `kill` is the step that must have begun, the seconds to wait after that, and the rank to kill."""
    context, port = multiprocessing.get_context("fork"), free_port()
    ranks = [context.Process(target=train_and_record, args=(config, r, 2, port, folder)) for r in range(2)]
    for rank in ranks:
        rank.start()
    if kill is not None:
        step, wait_s, victim = kill
        while (
            all(rank.is_alive() for rank in ranks)
            and max([0, *(r["step"] for r in samples_of(folder, victim)[-1:])]) < step
        ):
            time.sleep(0.002)
        time.sleep(wait_s)
        ranks[victim].kill()
        ranks[victim].join()
        time.sleep(0.05)
        ranks[1 - victim].kill()  # as a launcher kills the remaining ranks
    for rank in ranks:
        rank.join(120)


@row(
    "X1",
    "50 SIGKILLs at random times in a run on two ranks",
    "bit-identical to an undisturbed run",
    slow=True,
)
def kills(stage: Stage) -> Measured:
    n = stage.times(4, 50)
    total = 12 * n
    options = {
        "optim__batch_size": 2, "every__checkpoint": 8, "every__log": 8, "schedule__n_epochs": total, "stop_after": 2 * total,
        "keep_checkpoints": 2,
    }  # fmt: skip
    folders = {name: stage.folder / f"samples-{name}" for name in ("undisturbed", "killed")}
    for folder in folders.values():
        folder.mkdir()
    undisturbed, killed = (stage.run(name=name, **options) for name in folders)
    attempt(undisturbed, folders["undisturbed"], None)
    steps = sorted(stage.random.sample(range(1, total - 1), n))
    repeated = 0
    for step in steps:
        attempt(killed, folders["killed"], (step, stage.random.uniform(0, 0.06), stage.random.randrange(2)))
    attempt(killed, folders["killed"], None)
    states = [final_state(config, 2) for config in (undisturbed, killed)]
    lost = wrong = 0
    for rank in range(2):
        expected = {entry["step"]: entry for entry in samples_of(folders["undisturbed"], rank)}
        found = samples_of(folders["killed"], rank)
        repeated += len(found) - total
        lost += sum(expected[step] not in (entry for entry in found if entry["step"] == step) for step in range(total))
        wrong += sum(entry != expected[entry["step"]] for entry in found)
    counts = Counter(k for r in range(2) for e in samples_of(folders["undisturbed"], r) for k in e["B"])
    even = max(counts.values()) - min(counts.values()) <= 1
    different = differences(*states)
    weights = max(float((x - y).abs().max()) for x, y in zip(tensors(states[0]), tensors(states[1]), strict=True))
    figure = (
        f"seed {stage.seed}: {n} kills in {total} steps, {repeated // 2} steps repeated; max |dW| {weights:g}, other "
        f"differences {len(different)}, samples lost {lost}, wrong {wrong}, used equally often: {even}"
    )
    return Measured(figure, not different and lost == wrong == 0 and even)


def tensors(state: Any) -> list[torch.Tensor]:
    networks = state[0]["step"]["networks"]
    return [networks[key] for key in sorted(networks)]


# --- cost of a checkpoint, large data sets


@row(
    "X2",
    "a checkpoint of the paper's full-size networks is due",
    "training is blocked for the copy and less than 0.1 s more",
    slow=True,
    nightly=True,
)
def stall(stage: Stage) -> Measured:
    torch.manual_seed(0)
    step = Step(CycleGAN(CycleGANConfig(pool_size=0)), OptimConfig(), ALONE)
    images = [{name: torch.rand(1, 3, 32, 32) * 2 - 1 for name in ("real_A", "real_B")}]
    store = CheckpointStore(LocalStorage(stage.folder / "c"), ALONE, keep=1, warn=print)
    step(images, 1e-4)
    size = sum(tensor.nbytes for tensor in leaves(step.state_dict())) / 1e6

    def seconds(work: Callable[[], Any]) -> float:
        began = time.monotonic()
        work()
        return time.monotonic() - began

    def steps(save: bool) -> tuple[float, float]:
        """Seconds that saving blocks training, and seconds of saving and four steps during the write."""
        state = step.state_dict()
        blocked = seconds(lambda: store.save(1, state, {}, nimg=0)) if save else 0.0
        total = blocked + seconds(lambda: [step(images, 1e-4) for _ in range(4)])
        store.wait()
        return blocked, total

    copies, plain, saving = [], [], []
    for _ in range(stage.times(2, 9)):
        copies.append(seconds(lambda: on_cpu(step.state_dict())))
        plain.append(steps(save=False))
        saving.append(steps(save=True))
    write = seconds(lambda: (store.save(2, step.state_dict(), {}, nimg=0), store.wait()))
    copy, blocked = statistics.median(copies), statistics.median(seconds for seconds, _ in saving)
    without, with_saving = (statistics.median(total for _, total in times) for times in (plain, saving))
    figure = (
        f"{size:.0f} MB, written in {write:.2f} s: training is blocked for {blocked:.2f} s, of which the copy takes "
        f"{copy:.2f} s; four steps during the write take {with_saving - blocked - without:.2f} s longer than the "
        f"{without:.2f} s of other steps"
    )
    return Measured(figure, blocked - copy < 0.1 or not stage.thorough)


def leaves(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [leaf for item in items for leaf in leaves(item)]


@row(
    "X3",
    "ten million samples",
    "opened and planned in seconds with less than 1 GB; reading stays within a window",
    slow=True,
)
def ten_million(stage: Stage) -> Measured:
    n = stage.times(200_000, 10_000_000)
    huge_manifest(stage.folder, n)
    result = stage.folder / "result.json"

    def measure() -> None:
        before, began = memory_mb(), time.monotonic()
        manifest = open_manifest(str(stage.folder))
        reader = ShardReader(manifest, "A")
        plan = Plan(manifest.samples, 0, 64)
        first = reader.key(plan.sample("A", 12 * n + n // 2))
        result.write_text(json.dumps([time.monotonic() - began, memory_mb() - before, first]))

    assert in_fork(measure) == 0
    seconds, megabytes, _ = json.loads(result.read_text())
    plan, m = Plan({"A": n, "B": 1}, 0, 1), 4 * 16384
    order = np.array([plan.sample("A", position) for position in range(m)])
    at_once = max(len(set(order[start : start + 16384] // BLOCK)) for start in range(0, m, 16384))
    sampled = np.random.default_rng(0).integers(0, n, stage.times(2000, 20_000))
    rank = np.corrcoef(sampled, [plan.sample("A", int(position)) for position in sampled])[0, 1]
    figure = (
        f"{n:,} samples: {seconds:.1f} s, {megabytes:.0f} MB; samples are shuffled within windows of 16,384; "
        f"16,384 consecutive positions come from {at_once} runs of {BLOCK} neighbouring samples; correlation of order and "
        f"shard position {rank:+.3f}"
    )
    return Measured(figure, seconds < 20 and megabytes < 1000 and abs(rank) < 0.05 and at_once <= 2 * 64 + 1)


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def huge_manifest(folder: Path, n: int, each: int = 10_000) -> None:
    """A manifest of `n` samples of A and ten of B, without shards."""
    shards = [f"A/A-{i:06d}.tar" for i in range(-(-n // each))] + ["B/B-000000.tar"]
    facts = json.dumps({"version": 1, "shards": {s: {"bytes": 1, "sha256": ""} for s in shards}})
    rng, names = np.random.default_rng(0), pa.array(shards)
    with pq.ParquetWriter(
        folder / MANIFEST, SCHEMA.with_metadata({"cyclegan_dist": facts}), compression="zstd"
    ) as writer:
        for domain, first, last in [*(("A", s, min(n, s + 10**6)) for s in range(0, n, 10**6)), ("B", 0, 10)]:
            m, index = last - first, np.arange(first, last)
            shard = index // each if domain == "A" else np.full(m, len(shards) - 1)
            columns = {
                "domain": pa.DictionaryArray.from_arrays(pa.array(np.zeros(m, np.int8)), pa.array([domain])),
                "key": pa.array([f"{i:09d}" for i in index]),
                "name": pa.array([f"{i}.jpg" for i in index]),
                "shard": pa.DictionaryArray.from_arrays(pa.array(shard.astype(np.int32)), names),
                "offset": pa.array(index % each * 20_000),
                "size": pa.array(rng.integers(10_000, 20_000, m)),
                "width": pa.array(np.full(m, 286, np.int32)),
                "height": pa.array(np.full(m, 286, np.int32)),
                "mode": pa.array(["RGB"] * m),
                "sha256": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(32), m, [None, pa.py_buffer(rng.bytes(32 * m))]
                ),
            }
            writer.write_table(pa.table(columns, schema=SCHEMA))
