"""Tests that an update with `optim.fast` equals the plain one: from static buffers, recorded, over ranks, resumed."""

import functools
import weakref

import pytest
import torch
from torch import Tensor

from cyclegan_dist.methods.available import METHODS
from cyclegan_dist.methods.cyclegan_config import GradientPenaltyConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step import graph
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.finite import NonFiniteError
from cyclegan_dist.step.update import Step
from tests.ranks import run_ranks
from tests.step.recorder import CpuRecording, DeviceCheck

ALONE = World(0, 1, torch.device("cpu"))
STEPS = 12
LR = 2.0**-12  # exact in fp32, in which the graph keeps it
SMALL = {"generator": GeneratorConfig(ngf=4, n_blocks=1), "discriminator": DiscriminatorConfig(ndf=4, n_layers_D=1)}
SPECTRAL = DiscriminatorConfig(ndf=4, n_layers_D=1, spectral_norm=True)
REGULARISED = {
    "discriminator": SPECTRAL,
    "gradient_penalty": GradientPenaltyConfig(at="mix"),
    "diff_augment": ("colour", "translation", "cutout"),
    "cycle_ramp_images": 40,
    "lambda_cycle_end": 0.25,
}
AVERAGED = {"ema_half_life_images": 20.0}
DROPOUT = {**SMALL, "generator": GeneratorConfig(ngf=4, n_blocks=1, dropout=True)}


def build(
    fast: str, method: str = "cyclegan", world: World = ALONE, precision="fp64", optim: dict | None = None, **options
) -> Step:
    torch.manual_seed(0)
    small = DROPOUT if method == "pix2pix" else {"pool_size": 3, **(SMALL if method == "cyclegan" else DROPOUT)}
    networks = METHODS[method](**{**small, **options}).build(rank_seed=world.rank)
    return Step(networks, OptimConfig(precision=precision, fast=fast, **(optim or {})), world)


@pytest.fixture(params=[False, True], ids=["static", "recorded"])
def recorded(request, monkeypatch) -> bool:
    """Whether updates are recorded after the warm-up, as on a GPU."""
    if request.param:
        monkeypatch.setattr(graph, "recordings", lambda stream: CpuRecording)
    monkeypatch.setattr(CpuRecording, "made", 0)
    return request.param


def batch(number: int, n: int = 4, micro: int = 4, side: int = 16) -> list[dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(1000 + number)
    a, b = (torch.rand(n, 3, side, side, generator=rng, dtype=torch.float64) * 2 - 1 for _ in range(2))
    return [{"real_A": x, "real_B": y} for x, y in zip(a.split(micro), b.split(micro), strict=True)]


def train(step: Step, first: int = 0, last: int = STEPS, **images) -> list[dict[str, float]]:
    """Losses of steps `first` to `last`, with learning rates that change from step to step."""
    losses = list[dict[str, Tensor]]()
    for number in range(first, last):
        torch.manual_seed(number)
        losses.append(step(batch(number, **images), lr=LR * (1 + number % 3), seed=number, nimg=4 * number))
    step.check()
    # Read at the end: a later update must not overwrite them.
    return [{name: float(value) for name, value in values.items()} for values in losses]


def difference(one: list[dict[str, float]], other: list[dict[str, float]]) -> float:
    assert [list(a) for a in one] == [list(b) for b in other]
    return max(abs(a[name] - b[name]) for a, b in zip(one, other, strict=True) for name in a)


def weights(step: Step) -> Tensor:
    networks = torch.nn.ModuleList([step.method.networks, *step.translators.values()])
    return torch.cat([p.detach().flatten() for p in networks.parameters()])


CASES = [
    {},
    {"optim": AVERAGED},
    {"method": "pix2pix"},
    {"method": "pix2pix", "optim": AVERAGED},
    {"method": "bigan"},
    {"method": "feature_gan", "features_size": 16},
    {"pool_size": 0},
    {"lambda_GAN_BA": 0.0, "lambda_identity": 0.0},
    {"gan_mode": "vanilla", "generator": DROPOUT["generator"]},
    {**REGULARISED, "optim": {"activation_checkpointing": True}},
]


@functools.cache
def trained_plainly(case: int, micro: int) -> tuple[Step, list[dict[str, float]]]:
    """After the last update, and the losses; for the updates that are recorded and for those that are not."""
    step = build("off", **CASES[case])
    return step, train(step, micro=micro)


@pytest.mark.parametrize("micro", [4, 1])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fast_update_equals_the_plain_one(case, micro, recorded) -> None:
    plain, losses = trained_plainly(CASES.index(case), micro)
    fast = build("on", **case)
    assert difference(train(fast, micro=micro), losses) < 1e-9
    assert (weights(fast) - weights(plain)).abs().max() < 1e-9
    states = fast.method.rank_state(), plain.method.rank_state()
    for domain in states[1]:
        assert torch.equal(states[0][domain]["rng"], states[1][domain]["rng"])
        for one, other in zip(*(state[domain]["images"] for state in states), strict=True):
            assert (one - other).abs().max() < 1e-9
    pieces = 3 if "method" in case else 1  # dropout in the inputs: before, in and after them
    assert CpuRecording.made == (pieces if recorded else 0)


def test_the_recorder_refuses_a_read() -> None:
    """Recording refuses each read; here, that the recorder sees one."""
    recording = CpuRecording()
    with pytest.raises(AssertionError, match="reads a value"), recording.recording():
        float(torch.ones(()))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_recorded_update_works_on_the_device_alone(case, monkeypatch) -> None:
    monkeypatch.setattr(graph, "recordings", lambda stream: DeviceCheck)
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)  # fused Adam has no kernel for this device
    step = build("on", world=World(0, 1, torch.device("meta")), precision="fp32", **case)
    for number in range(graph.WARM_UP + 1):
        step([{name: x.float().to("meta") for name, x in one.items()} for one in batch(number, micro=2)], lr=LR)


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_together_equal_one_rank(size, recorded) -> None:
    alone = build("off", pool_size=0)
    expected = train(alone)

    def work(world: World) -> tuple[Tensor, int]:
        step = build("on", pool_size=0, world=world)
        for number in range(STEPS):
            share = slice(world.rank * 4 // size, (world.rank + 1) * 4 // size)
            step([{name: x[share] for name, x in batch(number)[0].items()}], lr=LR * (1 + number % 3))
        step.check()
        return weights(step), CpuRecording.made

    for answer, pieces in run_ranks(work, size):
        assert (answer - weights(alone)).abs().max() < 1e-9
        assert pieces == (3 if recorded else 0)  # before, between and after two exchanges
    assert expected


@pytest.mark.parametrize("case", [{"method": "pix2pix", "optim": AVERAGED}, REGULARISED], ids=str)
@pytest.mark.parametrize(("before", "after"), [("on", "on"), ("on", "off"), ("off", "on")])
def test_a_resumed_run_continues_as_if_it_had_not_stopped(case, recorded, before, after) -> None:
    whole = build(before, **case)
    expected = train(whole)
    first, second = build(before, **case), build(after, **case)
    train(first, last=7)
    second.load_state_dict(first.state_dict())
    second.method.load_rank_state([first.method.rank_state()], 0, 1)
    losses = train(second, first=7)
    if before == after:
        assert difference(losses, expected[7:]) == 0
        assert torch.equal(weights(second), weights(whole))
    else:
        assert difference(losses, expected[7:]) < 1e-9


@pytest.mark.parametrize(("before", "after"), [("off", "on"), ("on", "on")])
def test_a_run_resumes_with_weights_in_another_layout(before, after) -> None:
    """Fused Adam reads weights and moments in one order: that of the memory."""
    whole, first, second = build(before), build(before), build(after)
    expected = train(whole, last=6)
    train(first, last=3)
    second.method.networks.to(memory_format=torch.channels_last)  # as on a GPU
    second.load_state_dict(first.state_dict())
    second.method.load_rank_state([first.method.rank_state()], 0, 1)
    assert difference(train(second, first=3, last=6), expected[3:]) < 1e-9
    assert (weights(second) - weights(whole)).abs().max() < 1e-9


def test_a_closed_step_has_no_recordings(monkeypatch) -> None:
    """NCCL would wait for them."""
    made = weakref.WeakSet[CpuRecording]()

    def recording() -> CpuRecording:
        made.add(one := CpuRecording())
        return one

    monkeypatch.setattr(graph, "recordings", lambda stream: recording)
    step = build("on")
    train(step, last=graph.WARM_UP + 1)
    assert len(made) == 1
    step.close()
    assert not made
    train(step, last=1)  # one operation at a time


@pytest.mark.parametrize(("method", "player", "moved"), [("cyclegan", "G", "no weight"), ("pix2pix", "D", "no weight")])
def test_after_a_non_finite_gradient_no_weight_moves_and_the_error_names_the_update(
    recorded, method, player, moved
) -> None:
    step = build("on", method, optim=AVERAGED)
    train(step, last=8)
    before = weights(step)
    state = step.state_dict()["optimizers"]["D"]["state"][0]["step"].clone()
    for number in range(8, 12):
        images = batch(number)
        if number == 9:
            images[0]["real_A"][0, 0, 0, 0] = float("nan")
        elif number == 8:
            step(images, lr=LR)
            before = weights(step)
            state = step.state_dict()["optimizers"]["D"]["state"][0]["step"].clone()
            continue
        step(images, lr=LR)
    with pytest.raises(NonFiniteError, match=f"player {player} is not finite, {moved}") as error:
        step.check()
    assert error.value.updates_ago == 2
    assert not all(value == value for value in error.value.losses.values())
    assert torch.equal(weights(step), before)
    assert torch.equal(step.state_dict()["optimizers"]["D"]["state"][0]["step"], state)
    with pytest.raises(NonFiniteError):  # the flag stays set
        step.check()


def test_players_before_the_failing_one_have_moved_and_the_error_says_so() -> None:
    step = build("on", "pix2pix")
    train(step, last=3)
    hook = step.method.networks["G_AB"].model[1].weight.register_hook(lambda gradient: gradient * float("inf"))
    before = [p.detach().clone() for p in step.method.networks["G_AB"].parameters()]
    step(batch(3), lr=LR)
    hook.remove()
    with pytest.raises(NonFiniteError, match="player G is not finite, player D has moved before it"):
        step.check()
    for old, new in zip(before, step.method.networks["G_AB"].parameters(), strict=True):
        assert torch.equal(old, new)


def test_images_of_another_size_are_trained_without_static_buffers(recorded, monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    plain, fast = build("off"), build("on")
    losses: dict[Step, list[dict[str, float]]] = {plain: [], fast: []}
    for number in range(9):
        for step, seen in losses.items():
            values = step(batch(number, side=20 if number == 6 else 16), lr=LR)
            seen.append({name: float(value) for name, value in values.items()})
        assert torch.backends.cudnn.benchmark == (number < 6)  # each size would be measured
    assert difference(losses[fast], losses[plain]) < 1e-9


def test_fast_is_off_on_a_cpu_unless_it_is_asked_for() -> None:
    assert [build(fast).fast for fast in ("auto", "on", "off")] == [False, True, False]
    assert OptimConfig().is_fast("cuda")
