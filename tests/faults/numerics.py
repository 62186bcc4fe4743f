"""Drills D1 to D4: non-finite values, lost state and flipped bits."""

import copy
import random
import shutil
import statistics
import time
from typing import Any

import numpy as np
import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.loader import Batch
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.methods.history import HistoryBuffer
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.finite import NonFiniteError
from cyclegan_dist.step.schedule import Schedule, ScheduleConfig
from cyclegan_dist.training.hooks.weight_consistency import DivergedError, digest
from cyclegan_dist.training.parts import Parts
from cyclegan_dist.training.stop import StopRequest
from cyclegan_dist.training.trainer import build, loop
from tests.faults.matrix import Measured, Stage, row
from tests.faults.resuming import newest, rewrite
from tests.ranks import run_ranks
from tests.training.trainings import ALONE, before_step, differences, final_state, go


def corrupt_image(parts: Parts) -> None:
    images = Batch.images

    def corrupted(batch: Batch, *where: Any) -> dict[str, torch.Tensor]:
        loaded = images(batch, *where)
        loaded["real_A"][0, 0, 0, 0] = float("inf")
        return loaded

    Batch.images = corrupted  # type: ignore[method-assign]


def corrupt_activation(parts: Parts) -> None:
    parts.method.networks["G_AB"].register_forward_hook(lambda module, args, out: out * float("nan"))


def corrupt_gradient(parts: Parts) -> None:
    weight = next(iter(parts.method.networks["D_B"].parameters()))
    weight.register_hook(lambda gradient: gradient * float("inf"))


@row("D1", "NaN or Inf in an image, an activation or a gradient of one rank", "all ranks stop before a weight changes")
def not_finite(stage: Stage) -> Measured:
    stopped = same_message = changed = bad = 0
    faults = (corrupt_image, corrupt_activation, corrupt_gradient)
    for fault in faults:
        config = stage.run(name=fault.__name__, optim__batch_size=4, every__checkpoint=8)

        def work(world: World, config: Config = config, fault: Any = fault) -> tuple[str, bool]:
            before: list[torch.Tensor] = []

            def save_and_corrupt(parts: Parts) -> None:
                before.extend(p.clone() for p in parts.method.networks.parameters())
                fault(parts)

            parts = build(config, world, None)
            try:
                loop(parts, StopRequest(config.run_dir, world), [before_step(5, 1, save_and_corrupt)])
            except NonFiniteError as error:
                after = parts.method.networks.parameters()
                return str(error), all(torch.equal(x, y) for x, y in zip(before, after, strict=False))
            return "", False

        results = run_ranks(work, 2)
        stopped += all(text for text, _ in results)
        same_message += "Last good: the checkpoint of step 4" in results[0][0] and results[0][0] == results[1][0]
        changed += not all(same for _, same in results)
        bad += newest(config).name != "step-000000004"
    n = len(faults)
    return Measured(
        f"stopped on all ranks {stopped} of {n}, with the same message {same_message}; weights changed {changed}, "
        f"checkpoints after the fault {bad}",
        stopped == same_message == n and changed == bad == 0,
    )


@row(
    "D2",
    "one rank's history buffer is missing from a checkpoint",
    "the previous checkpoint is taken; buffers are equal",
)
def lost_buffer(stage: Stage) -> Measured:
    whole, cut = stage.run(name="whole"), stage.run(name="cut", stop_after=20)
    run_ranks(lambda world: go(whole, world), 2)
    run_ranks(lambda world: go(cut, world), 2)
    damaged = newest(cut)
    (damaged / "rank-00001.pt").unlink()
    resumed = stage.run(name="cut")
    run_ranks(lambda world: go(resumed, world), 2)
    different = differences(final_state(whole, 2), final_state(resumed, 2))
    return Measured(f"{damaged.name} skipped; differences at the end {len(different)}", not different)


@row("D3", "one bit of one rank's weights flips", "detected when ranks compare weights, before the next checkpoint")
def divergence(stage: Stage) -> Measured:
    found = 0
    bits = stage.times(3, 32)
    for bit in range(0, 32, 32 // bits):
        config = stage.run(name=f"bit{bit}", every__compare=8, every__checkpoint=8)

        def flip(parts: Parts, bit: int = bit) -> None:
            weight = next(iter(parts.method.networks["D_B"].parameters()))
            weight.data.view(-1).view(torch.int32)[3] ^= -(2**31) if bit == 31 else 1 << bit

        def work(world: World, config: Config = config, flip: Any = flip) -> bool:
            try:
                loop(build(config, world, None), StopRequest(config.run_dir, world), [before_step(5, 1, flip)])
            except (DivergedError, NonFiniteError) as error:  # a bit of the exponent may have an effect at once
                return "step 8" in str(error) or isinstance(error, NonFiniteError)
            return False

        found += all(run_ranks(work, 2)) and newest(config).name == "step-000000004"
    tried = len(range(0, 32, 32 // bits))
    return Measured(
        f"detected {found} of {tried} bits; a comparison of full-size networks takes {compare_ms():.0f} ms",
        found == tried,
    )


def compare_ms() -> float:
    """Milliseconds to hash the weights of the paper's four networks."""
    networks, taken = CycleGAN(CycleGANConfig()).networks, []
    for _ in range(5):
        began = time.monotonic()
        digest(networks.parameters())
        taken.append(time.monotonic() - began)
    return 1000 * statistics.median(taken)


def without(state: list[Any], item: str) -> list[Any]:
    """A copy of a checkpoint's content in which one item has its initial value."""
    shared, rank = copy.deepcopy(state)
    step, history = shared["step"], rank["method"]
    if item == "networks":
        step["networks"] = {key: torch.zeros_like(value) for key, value in step["networks"].items()}
    elif item.startswith("Adam"):
        for moments in step["optimizers"][item[-1]]["state"].values():
            for name in ("exp_avg", "exp_avg_sq", "step"):
                moments[name] = torch.zeros_like(moments[name])
    elif item == "EMA":
        step["ema"] = {key: torch.zeros_like(value) for key, value in step["ema"].items()}
    elif item == "schedule":
        shared["schedule"] = Schedule(ScheduleConfig(policy="plateau")).state_dict()
    elif item == "history images":
        history["A"]["images"] = []
    elif item == "history generator":
        history["B"]["rng"] = HistoryBuffer(3, seed=99).state_dict()["rng"]
    return [shared, rank]


@row(
    "D4",
    "each item of the state is lost in turn",
    "each loss changes the result; global random generators do not matter",
)
def every_item(stage: Stage) -> Measured:
    options = {"optim__ema_half_life_images": 20.0, "schedule__policy": "plateau", "method__generator__dropout": True}
    options |= {"schedule__n_epochs": 2, "schedule__n_epochs_decay": 0}  # the second one ends after the resumption
    whole, cut = stage.run(name="whole", **options), stage.run(name="cut", stop_after=14, **options)
    for config in (whole, cut):
        go(config)
    items = ("networks", "Adam G", "Adam D", "EMA", "schedule", "history images", "history generator")
    state, needed = final_state(cut, 1), []
    for item in items:
        resumed = stage.run(name="cut", stop_after=14, **options)
        shared, rank = without(state, item)
        rewrite(newest(resumed), lambda manifest: None, shared=shared, rank=rank)
        if ends_differently(stage, whole, options):
            needed.append(item)
    rewrite(newest(cut), lambda manifest: None, shared=state[0], rank=state[1])
    torch.manual_seed(99), np.random.seed(99), random.seed(99)
    independent = not ends_differently(stage, whole, options)
    figure = (
        f"loss of {len(needed)} of {len(items)} items changes the result; other seeds of torch, numpy and python: no "
        f"difference {independent}"
    )
    return Measured(figure, len(needed) == len(items) and independent)


def ends_differently(stage: Stage, whole: Config, options: dict[str, Any]) -> bool:
    """Whether a copy of the run `cut`, resumed, ends in another state than `whole`."""
    source = stage.run(name="cut", **options).run_dir
    shutil.rmtree(source.with_name("copy"), ignore_errors=True)
    shutil.copytree(source, source.with_name("copy"))
    copied = stage.run(name="copy", **options)
    go(copied, ALONE)
    return bool(differences(final_state(whole, 1), final_state(copied, 1)))
