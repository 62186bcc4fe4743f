"""The loop, and the files of a run."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.reader import DataError
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.memory import OutOfMemoryError
from cyclegan_dist.step.update import Step
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.training import auto_options
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.parts import Parts
from cyclegan_dist.training.run_folder import open_run, read_config
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import Loader, build, loop
from tests.ranks import run_ranks
from tests.training.trainings import ALONE, go, records

MakeRun = Callable[..., Config]


def test_a_run_writes_metrics_samples_snapshots_and_checkpoints(tiny_run: MakeRun) -> None:
    config = tiny_run(every__samples=20, every__snapshot=20)
    go(config)
    kinds = [record["kind"] for record in records(config)]
    assert kinds[0] == "run" and kinds[-1] == "end"
    metrics = [record for record in records(config) if record["kind"] == "metrics"]
    assert [record["nimg"] for record in metrics] == list(range(4, 41, 4))
    assert {"loss/G_AB", "loss/cycle_A", "loss/D_B", "lr/G", "perf/images_per_s", "perf/data_wait_frac"} <= set(
        metrics[0]["values"]
    )
    assert metrics[-1]["values"]["progress/epoch"] == 4
    assert metrics[-1]["values"]["lr/G"] == pytest.approx(2e-4 / 3)
    assert sorted(path.name for path in (config.run_dir / "samples").iterdir()) == [
        "nimg-000000000.png",
        "nimg-000000020.png",
        "nimg-000000040.png",
    ]
    assert sorted(path.name for path in (config.run_dir / "snapshots").iterdir()) == [
        "nimg-000000020",
        "nimg-000000040",
    ]
    assert [record["final"] for record in records(config) if record["kind"] == "snapshot"] == [False, True]


def test_speed_includes_waiting_for_the_device(tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `optim.fast` a GPU may not have done the last updates before a record is due."""
    monkeypatch.setattr(Step, "check", lambda step: time.sleep(0.3))
    config = tiny_run(stop_after=8)
    go(config)
    speeds = [r["values"]["perf/images_per_s"] for r in records(config) if r["kind"] == "metrics"]
    assert len(speeds) == 2 and max(speeds) < 4 / 0.3


def test_a_stop_file_stops_all_ranks_at_the_same_step_with_a_checkpoint(tiny_run: MakeRun) -> None:
    config = tiny_run(schedule__n_epochs=1000, every__checkpoint=0)

    def work(world: World) -> str:
        if world.is_first:
            (config.run_dir / "STOP").touch()
        return go(config, world)

    assert run_ranks(work, 2) == ["KILLED", "KILLED"]
    assert len(list((config.run_dir / "checkpoints").glob("step-*"))) == 1


def test_a_save_file_is_a_checkpoint_of_all_ranks_and_training_goes_on(tiny_run: MakeRun) -> None:
    config = tiny_run(schedule__n_epochs=1000, every__checkpoint=0)
    folder = RunFolder(config.run_dir)

    def said() -> list[int]:
        texts = [record["text"] for record in records(config) if record["kind"] == "message"]
        return [int(text.split()[3]) for text in texts if text.endswith("saved on request")]

    def ask() -> None:
        while not (folder.journal.exists() and any(record["kind"] == "metrics" for record in records(config))):
            time.sleep(0.05)
        folder.save.touch()
        while not said():
            time.sleep(0.05)
        folder.stop.touch()

    def work(world: World) -> str:
        if world.is_first:
            threading.Thread(target=ask, daemon=True).start()
        return go(config, world)

    assert run_ranks(work, 2) == ["KILLED", "KILLED"]
    (step,) = said()
    assert step > 0 and not folder.save.exists()
    steps = [int(path.name.removeprefix("step-")) for path in sorted(folder.checkpoints.glob("step-*"))]
    assert len(steps) == 2 and steps[0] == step < steps[1]


def test_a_resumed_run_checks_for_a_stop_soon(tmp_path: Path) -> None:
    stop = StopRequest(tmp_path, ALONE, interval_s=0.05)
    assert not stop.agreed(20_001)
    stop.signal = 15
    assert any(stop.agreed(20_002 + i) for i in range(3))


def test_images_of_many_sizes_train_sample_and_translate(tmp_path: Path, tiny_run: MakeRun) -> None:
    from cyclegan_dist.data.prepare import prepare
    from cyclegan_dist.data.prepare_config import PrepareConfig
    from tests.conftest import write_images

    a, b = write_images(tmp_path / "A", 3, size=16), write_images(tmp_path / "B", 3, size=16)
    write_images(a / "more", 3, size=24), write_images(b / "more", 3, size=32)
    prepare(PrepareConfig(a, b, tmp_path / "out", workers=1))
    config = tiny_run(data__path=str(tmp_path / "out"), data__preprocess="none", optim__batch_size=1, every__samples=8)
    assert go(config) == "FINISHED"
    assert list((config.run_dir / "samples").iterdir())


@pytest.mark.parametrize("resumed", [False, True])
def test_a_grid_without_memory_ends_the_run_as_a_step_does(
    tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    config = tiny_run(every__samples=8, stop_after=4)
    if resumed:
        go(config)
        config = tiny_run(every__samples=8)
    no_memory = mock.Mock(side_effect=torch.OutOfMemoryError("CUDA out of memory"))
    monkeypatch.setattr("cyclegan_dist.training.hooks.samples.translation_grid", no_memory)
    with pytest.raises(
        OutOfMemoryError, match=r"^rank 0, grid of samples after step \d: out of memory with 4 images .*every"
    ):
        go(config)
    failure = RunFolder(config.run_dir).read_failure()
    assert failure is not None and failure.error == "OutOfMemoryError"


def test_a_crop_larger_than_an_image_is_refused_on_opening(tiny_run: MakeRun) -> None:
    with pytest.raises(UsageError, match="24 pixels is smaller than crop_size 28"):
        tiny_run(data__preprocess="crop", data__crop_size=28)


def test_a_rank_that_hangs_in_a_save_delays_the_others_by_the_timeout_only(tiny_run: MakeRun) -> None:
    config = tiny_run(optim__batch_size=4, every__checkpoint=8, world__timeout_s=2.0)
    ended = config.run_dir / "ended"

    def hang() -> None:
        limit = time.monotonic() + 14
        while not ended.exists() and time.monotonic() < limit:
            time.sleep(0.1)

    def work(world: World) -> float:
        parts = build(config, world, None)
        if world.rank == 1:
            parts.store.save = lambda *_, **__: hang()  # type: ignore[method-assign]
        started = time.monotonic()
        with pytest.raises(RuntimeError):
            loop(parts, StopRequest(config.run_dir, world))
        if not world.rank:
            ended.touch()
        return time.monotonic() - started

    waiting, _ = run_ranks(work, 2)
    assert 2 < waiting < 13  # its time-out, and a few seconds for a checkpoint that will not be whole


def test_no_rank_times_out_while_rank_0_waits_for_evaluations(tiny_run: MakeRun) -> None:
    config = tiny_run(optim__batch_size=4, stop_after=8, world__timeout_s=1.0)

    class Evaluation:
        def __call__(self, at: Progress) -> None: ...

        def end(self, at: Progress) -> None:
            time.sleep(3)

    def work(world: World) -> str:
        def plugin(parts: Parts, hooks: Hooks, at: Progress, loader: Loader) -> Loader:
            if world.is_first:
                hooks.waiting.append(Evaluation())
            return loader

        return loop(build(config, world, None), StopRequest(config.run_dir, world), [plugin])

    assert run_ranks(work, 2) == ["FINISHED", "FINISHED"]


def test_damaged_data_ends_the_run_and_is_recorded_as_its_failure(tiny_run: MakeRun, tmp_path: Path) -> None:
    import shutil

    config = tiny_run()
    copy = Path(shutil.copytree(config.data.path, tmp_path / "copy"))
    for shard in copy.rglob("*.tar"):
        shard.write_bytes(shard.read_bytes()[:1000])
    config = tiny_run(data__path=str(copy))
    with pytest.raises(DataError, match=r"\.tar, sample"):
        go(config)
    failure = RunFolder(config.run_dir).read_failure()
    assert failure is not None and failure.error == "DataError" and ".tar" in failure.message
    config = tiny_run(name="workers", data__path=str(copy), data__workers=2)
    with pytest.raises(DataError, match=r"\.tar, sample") as error:
        go(config)
    assert "\n" not in str(error.value)  # not the loader process's traceback


def test_opening_refuses_bad_configs(tiny_run: MakeRun, tmp_path: Path) -> None:
    tiny_run()
    with pytest.raises(UsageError, match=r"optim\.lr: 0\.0002 -> 0\.1"):
        tiny_run(optim__lr=0.1)
    with pytest.raises(UsageError, match="no data set"):
        tiny_run(name="x", data__path=str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"pass --data\.path"):
        tiny_run(name="x", data__path="")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        tiny_run(name="x", runs_dir=str(tmp_path / "file"))
    assert not (tmp_path / "runs" / "x").exists()


def test_the_saved_config_is_a_preset(tiny_run: MakeRun) -> None:
    from cyclegan_dist.config.config import load_config

    config = tiny_run()
    assert load_config(str(config.run_dir / "config.yaml")) == config
    assert open_run(load_config(str(config.run_dir / "config.yaml"))) == config


@pytest.mark.parametrize(("first", "then", "chosen"), [(True, False, "bf16"), (False, True, "fp32")])
def test_the_precision_is_chosen_once(
    tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch, first: bool, then: bool, chosen: str
) -> None:
    monkeypatch.setattr(auto_options, "has_bf16", lambda device: first)
    config = tiny_run(optim__precision="auto", stop_after=8)
    go(config)
    assert read_config(config.run_dir).optim.precision == chosen
    assert tiny_run(optim__precision="auto").optim.precision == chosen  # a resumed run's
    monkeypatch.setattr(auto_options, "has_bf16", lambda device: then)
    assert build(config, ALONE, None).config.optim.precision == ("fp32" if first else "bf16")
    with Journal(config.run_dir) as journal:  # a restarted rank, which was given `auto`, perhaps on another node
        assert build(config, ALONE, journal).config.optim.precision == chosen
    messages = [record["text"] for record in records(config) if record["kind"] == "message"]
    assert [text for text in messages if "precision" in text] == [
        f"optim.precision auto: {chosen}, because the cpu {'has' if first else 'lacks'} bf16 instructions"
    ]


def test_a_rank_without_bf16_decides_for_all(tiny_run: MakeRun) -> None:
    config = tiny_run(optim__precision="auto", optim__batch_size=4)

    def work(world: World) -> str:
        with mock.patch.object(auto_options, "has_bf16", return_value=world.is_first):
            return build(config, world, None).config.optim.precision

    assert run_ranks(work, 2) == ["fp32", "fp32"]


@pytest.mark.parametrize("fast", ["off", "on"])
def test_a_value_that_is_not_finite_is_reported_with_its_images_and_the_last_checkpoint(
    tiny_run: MakeRun, fast: str
) -> None:
    from cyclegan_dist.data.loader import Batch
    from cyclegan_dist.step.finite import NonFiniteError

    config = tiny_run(optim__batch_size=4, optim__fast=fast)

    def work(world: World) -> tuple[str, bool]:
        parts = build(config, world, None)
        images, seen = Batch.images, []

        def poisoned(batch: Batch, *where: Any) -> dict[str, torch.Tensor]:
            seen.append(batch)
            made = images(batch, *where)
            if world.rank == 1 and len(seen) == 6:
                made["real_B"][0, 0, 0, 0] = float("nan")
                before.extend(p.clone() for p in parts.method.networks.parameters())
            return made

        before: list[torch.Tensor] = []
        Batch.images = poisoned  # type: ignore[method-assign]
        with pytest.raises(NonFiniteError) as error:
            loop(parts, StopRequest(config.run_dir, world))
        if world.rank == 1:
            assert all(key in str(error.value) for key in (*seen[5].keys_A, *seen[5].keys_B))
        after = list(parts.method.networks.parameters())
        return str(error.value), all(torch.equal(x, y) for x, y in zip(before, after, strict=bool(before)))

    (one, _), (two, unchanged) = run_ranks(work, 2)
    assert one == two and unchanged
    assert one.startswith("step 6: the gradient of player G is not finite, no weight was changed")
    assert "rank 1: " in one and "rank 0: " not in one
    assert "Last good: the checkpoint of step 4" in one
