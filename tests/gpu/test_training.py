"""Whole trainings on a GPU: resume, errors, loader, schedule, grids."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.images import to_unit_range
from cyclegan_dist.data.loader import Batch
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.finite import NonFiniteError
from cyclegan_dist.step.memory import OutOfMemoryError
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.hooks.samples import translation_grid
from cyclegan_dist.training.parts import Parts, build
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import Loader, Plugin, train
from tests.conftest import write_images
from tests.gpu import steps
from tests.training.trainings import before_step, differences, final_state, records

MakeRun = Callable[..., Config]
METHODS: dict[str, dict[str, Any]] = {
    "cyclegan": {},
    "pix2pix": {
        "method": {
            "name": "pix2pix",
            "gan_mode": "lsgan",
            "generator": {"arch": "resnet", "ngf": 4, "n_blocks": 1, "dropout": True},
            "discriminator": {"ndf": 4, "n_layers_D": 1},
        }
    },
}


def go(config: Config, device: torch.device, *plugins: Plugin) -> str:
    world = World(0, 1, device)
    return train(config, world, StopRequest(config.run_dir, world), plugins)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pairs of random images."""
    from cyclegan_dist.data.prepare import prepare
    from cyclegan_dist.data.prepare_config import PrepareConfig

    root = tmp_path_factory.mktemp("pairs")
    a, b = write_images(root / "A", 10, seed=1), write_images(root / "B", 10, seed=2)
    prepare(PrepareConfig(a, b, root / "out", pairs="names", workers=1))
    return root / "out"


@pytest.mark.parametrize(
    ("device", "fast"),
    [("cpu", "on"), *(pytest.param("cuda", fast, marks=pytest.mark.gpu) for fast in ("on", "off"))],
    indirect=["device"],
)
@pytest.mark.parametrize("name", METHODS)
def test_a_run_resumed_from_a_replayed_checkpoint_equals_an_uninterrupted_one_in_every_bit(
    name: str, fast: str, device: torch.device, pairs: Path, tiny_run: MakeRun, deterministic: None
) -> None:
    """The checkpoint is of step 8; a graph replays from step 5 on."""
    # Reflection padding of plain layers has no deterministic backward on a GPU.
    padding = {"method__generator__padding": "zero"} if fast == "off" else {}
    options = {
        **METHODS[name],
        **padding,
        "optim__fast": fast,
        "world__device": device.type,
        "optim__ema_half_life_images": 20.0,
    }
    options |= {"data__path": str(pairs), "every__checkpoint": 16}
    whole = tiny_run(name="whole", **options)
    assert go(whole, device) == "FINISHED"
    assert go(tiny_run(name="cut", stop_after=16, **options), device) == "FINISHED"
    resumed = tiny_run(name="cut", **options)
    assert go(resumed, device) == "FINISHED"
    assert any("resumed at step 8" in str(record) for record in records(resumed))
    assert differences(final_state(whole, 1), final_state(resumed, 1)) == []


@pytest.mark.gpu
@pytest.mark.parametrize("fast", ["on", "off"])
def test_without_deterministic_kernels_a_resumed_run_stays_close(
    fast: str, gpu: torch.device, dataset: Path, tiny_run: MakeRun, record_property: Callable[[str, object], None]
) -> None:
    options = {"optim__fast": fast, "world__device": "cuda", "every__checkpoint": 16}
    whole, cut = tiny_run(name="whole", **options), tiny_run(name="cut", stop_after=16, **options)
    go(whole, gpu)
    go(cut, gpu)
    go(tiny_run(name="cut", **options), gpu)
    one, two = (final_state(config, 1)[0]["step"]["networks"] for config in (whole, cut))
    largest = max(float((one[key] - two[key]).abs().max()) for key in one if one[key].ndim > 1)
    record_property("max |dW|", largest)
    print(f"max |dW| after resume, optim.fast {fast}: {largest:.1e}")
    assert largest < 12 * 2 * steps.LR  # twelve steps, each of at most about the learning rate


def poisoned(at_step: int) -> Plugin:
    """A training whose batch of `at_step` has a value that is not a number in domain A."""

    class Poisoned(Batch):
        def images(self, *where: Any) -> dict[str, Tensor]:
            made = super().images(*where)
            made["real_A"][0, 0, 0, 0] = math.nan
            return made

    def plugin(parts: Parts, hooks: Hooks, at: Progress, loader: Loader) -> Loader:
        return (Poisoned(*batch) if step == at_step else batch for step, batch in enumerate(loader, at.step + 1))

    return plugin


def test_a_value_that_is_not_finite_names_step_and_images_and_is_never_saved(
    device: torch.device, tiny_run: MakeRun
) -> None:
    options = {"optim__fast": "on", "world__device": device.type, "every__checkpoint": 8, "every__log": 8}
    keys: list[str] = []

    def remember(parts: Parts, hooks: Hooks, at: Progress, loader: Loader) -> Loader:
        for step, batch in enumerate(loader, at.step + 1):
            if step == 10:
                keys.extend((*batch.keys_A, *batch.keys_B))
            yield batch

    config = tiny_run(name="bad", **options)
    with pytest.raises(NonFiniteError, match=r"step 10: the gradient of player G is not finite") as error:
        go(config, device, remember, poisoned(10))
    assert len(keys) == 4 and all(key in str(error.value) for key in keys)
    assert "Last good: the checkpoint of step 8" in str(error.value)
    good = tiny_run(name="good", stop_after=16, **options)
    go(good, device)
    saved, expected = final_state(config, 1), final_state(good, 1)
    if device.type == "cpu":  # on a GPU some kernels add in any order
        assert differences(saved, expected) == []
    assert all(x.isfinite().all() for x in saved[0]["step"]["networks"].values())


@pytest.mark.gpu
@pytest.mark.parametrize("fast", ["on", "off"])
def test_too_little_memory_is_an_error_with_advice(fast: str, gpu: torch.device, tiny_run: MakeRun) -> None:
    options = {"data__load_size": 256, "data__crop_size": 256, "method__generator__ngf": 32, "stop_after": 8}
    config = tiny_run(**options, optim__fast=fast, world__device="cuda")

    def shrink(parts: Parts) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(gpu).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(gpu) + (64 << 20)) / total, gpu)

    with full_memory_afterwards(gpu), pytest.raises(OutOfMemoryError, match=r"rank 0, step 1.*optim\.micro_batch"):
        go(config, gpu, before_step(0, 0, shrink))


@contextlib.contextmanager
def full_memory_afterwards(gpu: torch.device) -> Iterator[None]:
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
        torch.cuda.empty_cache()


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_pins_its_batches(workers: int, gpu: torch.device, tiny_run: MakeRun) -> None:
    parts = build(tiny_run(data__workers=workers, world__device="cuda"), World(0, 1, gpu), None)
    with contextlib.closing(parts.loader(first_step=0)) as loader:
        batch = next(loader)
    assert batch.A.is_pinned() and batch.B.is_pinned()
    on_gpu = to_unit_range(batch.A, gpu, torch.float32)
    assert on_gpu.device.type == "cuda"
    on_cpu = to_unit_range(batch.A, steps.CPU, torch.float32)
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=0, atol=2e-7)  # a GPU divides with another last bit


@pytest.mark.gpu
def test_plateau_lowers_the_learning_rate_as_on_a_cpu(gpu: torch.device, tiny_run: MakeRun) -> None:
    options = {"schedule__policy": "plateau", "optim__precision": "fp64"}
    fast = tiny_run(name="fast", optim__fast="on", world__device="cuda", **options)
    plain = tiny_run(name="plain", optim__fast="off", **options)
    go(fast, gpu)
    go(plain, steps.CPU)
    mine, expected = (final_state(config, 1)[0]["schedule"] for config in (fast, plain))
    assert mine["factor"] == expected["factor"]
    assert mine["plateau"]["best"] == pytest.approx(expected["plateau"]["best"], rel=1e-6)


def test_grids_of_samples_are_those_of_a_cpu(device: torch.device, tiny_run: MakeRun) -> None:
    config = tiny_run(optim__fast="on", world__device=device.type, every__samples=8, stop_after=16)
    go(config, device)
    grids = sorted((config.run_dir / "samples").iterdir())
    assert len(grids) == 3
    with Image.open(grids[0]) as grid:
        assert grid.size[0] > 16 and len(set(grid.convert("L").tobytes())) > 16
    step = steps.build(device, fast="on")
    steps.train(step, 6)
    plain = steps.build(steps.CPU, fast="off")
    plain.load_state_dict(step.state_dict())
    made = []
    for each in (step, plain):
        batch = steps.images(0, plain)
        made.append(translation_grid(each.translators, {k: x.to(each.world.device) for k, x in batch.items()}))
    assert made[0].device.type == "cpu" and float((made[0] - made[1]).abs().max()) < 1e-3
