"""Time that a rank computes, without its waits for others: the slow rank's is longer although all updates are equally long."""

import time
from typing import ClassVar

import pytest
import torch

from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.step import own_time
from cyclegan_dist.step.config import OptimConfig
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.own_time import OwnTime
from cyclegan_dist.step.update import Step
from tests.ranks import run_ranks

SLEEP_S = 0.2
UPDATES = 3
Case = tuple[str, str, int]
Measured = tuple[float, float, list[float]]
CASES: list[Case] = [("off", "forward", 1), ("off", "backward", 2), ("on", "forward", 1)]


def slowed(world: World, fast: str, where: str, micro: int) -> Measured:
    """The own and the whole seconds of an update of this rank, of which rank 1 sleeps in `where`, and its losses."""
    torch.manual_seed(0)
    small = CycleGANConfig(
        generator=GeneratorConfig(ngf=4, n_blocks=1), discriminator=DiscriminatorConfig(ndf=4, n_layers_D=1)
    )
    step = Step(small.build(rank_seed=world.rank), OptimConfig(fast=fast), world)
    first, last = (step.method.networks["G_AB"].model[i] for i in (1, -2))
    if world.rank == 1 and where == "forward":
        last.register_forward_hook(lambda *_: time.sleep(SLEEP_S))
    if world.rank == 1 and where == "backward":  # the last gradient of the first player, which DDP waits for
        first.weight.register_hook(lambda gradient: time.sleep(SLEEP_S))
    losses, started = list[float](), 0.0
    for number in range(UPDATES):
        torch.manual_seed(number)
        if number == 1:  # after the rehearsal
            step.own_time.take()
            started = time.perf_counter()
        images = {name: torch.rand(1, 3, 16, 16) * 2 - 1 for name in ("real_A", "real_B")}
        losses += map(float, step([images] * micro, 2e-4).values())
    return step.own_time.take(), (time.perf_counter() - started) / (UPDATES - 1), losses


def test_only_the_slow_rank_computes_for_long_and_measuring_changes_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(world: World) -> tuple[dict[Case, Measured], dict[Case, Measured]]:
        monkeypatch.setattr(own_time, "EVERY", 1)
        slow = {case: slowed(world, *case) for case in CASES}
        monkeypatch.setattr(own_time, "EVERY", 1000)
        return slow, {case: slowed(world, case[0], "nowhere", case[2]) for case in CASES}

    ranks = run_ranks(measured, 2)  # one fork, which takes longer than a case
    for case in CASES:
        (quick_s, whole_s, _), (slow_s, other_s, _) = (slow[case] for slow, _ in ranks)
        assert abs(whole_s - other_s) < SLEEP_S / 2, case  # each waits for the other
        assert slow_s > quick_s + SLEEP_S * 0.7 and slow_s > 0.7 * whole_s, case
    for slow, unmeasured in ranks:
        assert {case: losses for case, (_, _, losses) in slow.items()} == {
            case: losses for case, (_, _, losses) in unmeasured.items()
        }
        assert {own_s for own_s, _, _ in unmeasured.values()} == {0.0}


def test_one_update_of_some_is_measured_and_none_of_a_single_rank() -> None:
    def measured(world: World) -> list[bool]:
        own, found = OwnTime(world), list[bool]()
        for _ in range(2 * own_time.EVERY):
            own.begin()
            own.end()
            found.append(own.take() > 0)
        return found

    assert measured(World(1, 2, torch.device("cpu"))) == ([False] * (own_time.EVERY - 1) + [True]) * 2
    assert not any(measured(World(0, 1, torch.device("cpu"))))


class Event:
    """An event of a GPU whose clock counts the events that are recorded."""

    made: ClassVar[list["Event"]] = []

    def __init__(self, enable_timing: bool, external: bool):
        assert enable_timing
        self.external, self.at, self.happened = external, 0, False
        Event.made.append(self)

    def record(self) -> None:
        self.at = len(Event.made)

    def query(self) -> bool:
        return self.happened

    def elapsed_time(self, end: "Event") -> float:
        return 1000.0 * (end.at - self.at)


def test_marks_on_a_gpu_are_events_that_nothing_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    captures = False
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: captures)
    monkeypatch.setattr(Event, "made", [])
    own = OwnTime(World(0, 2, torch.device("cuda")))
    for _ in range(own_time.EVERY - 1):
        own.begin()
        own.end()
    assert own.take() == 0.0 and not Event.made
    captures = True  # an update that is recorded is measured, whatever its number
    own.begin()
    own.pause()
    own.resume()
    own.end()
    assert [event.external for event in Event.made] == [True] * 4 and own.take() == 0.0
    for event in Event.made:
        event.happened = True
    assert own.take() == own.take() == 2.0  # of four events, whose middle two are a pause
    monkeypatch.setattr(torch.version, "hip", "7.0")
    own.begin()
    own.end()
    assert len(Event.made) == 4 and own.take() == 0.0
    captures = False
    for _ in range(own_time.EVERY):
        own.begin()
        own.end()
    assert [event.external for event in Event.made[4:]] == [False] * 2
