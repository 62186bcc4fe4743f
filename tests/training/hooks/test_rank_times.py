import time
from collections.abc import Callable

import pytest
import torch

from cyclegan_dist.config.config import Config
from cyclegan_dist.step import own_time
from cyclegan_dist.step.distributed import World
from cyclegan_dist.step.own_time import OwnTime
from cyclegan_dist.training.hooks import rank_times
from cyclegan_dist.training.hooks.progress import Hooks, Progress
from cyclegan_dist.training.hooks.rank_times import IN_A_ROW, RankTimes, imbalance, waiting
from cyclegan_dist.training.parts import Parts
from cyclegan_dist.training.trainer import Loader
from tests.ranks import run_ranks
from tests.training.trainings import go, records

MakeRun = Callable[..., Config]


class Messages:
    """A journal of messages only."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


class Measured(OwnTime):
    """The own times of a rank, given."""

    def __init__(self, world: World, *seconds: float):
        super().__init__(world)
        self._given = iter(seconds)

    def take(self) -> float:
        return next(self._given)


def compared(*seconds: tuple[float, ...]) -> tuple[list[dict[str, float]], list[str]]:
    """The figures of records, on all ranks, and the warnings, if the ranks compute for so long before each record."""

    def work(world: World) -> tuple[list[dict[str, float]], list[str]]:
        journal = Messages()
        own = Measured(world, *(record[world.rank] for record in seconds))
        times = RankTimes(own, world, journal if world.is_first else None)  # pyright: ignore[reportArgumentType]
        return [times.values() for _ in seconds], journal.texts

    (found, texts), *others = run_ranks(work, len(seconds[0]))
    assert all(other == (found, []) for other in others)
    return found, texts


def test_a_rank_that_stays_slow_is_reported_once() -> None:
    quick, slow, other, unmeasured = (1.0, 1.0, 1.1), (1.0, 1.5, 1.8), (2.0, 1.0, 1.0), (0.0, 1.0, 2.0)
    almost = IN_A_ROW - 1
    begun = [unmeasured, *[slow] * almost, other, *[slow] * almost, quick]
    records, texts = compared(*begun, *[slow] * (almost + 3), *[other] * (almost + 3))
    assert records[0] == {} and records[1] == pytest.approx({"perf/rank_wait_frac": 1 - 4.3 / 3 / 1.8})
    assert [text.partition(" (")[0] for text in texts] == ["warning: rank 2", "warning: rank 0"]
    assert "needs 1.8 times the time of rank 0 (" in texts[0] and "31% of the other ranks' time is waiting" in texts[0]
    assert IN_A_ROW == 10


def test_a_single_rank_has_no_figure() -> None:
    alone = World(0, 1, torch.device("cpu"))
    assert RankTimes(OwnTime(alone), alone, None).values() == {}


def test_advice_depends_on_whether_the_devices_are_of_one_kind() -> None:
    seconds = [1.0, 1.0, 1.0, 1.8]
    assert waiting(seconds) == pytest.approx(1 - 4.8 / 4 / 1.8)
    assert imbalance(seconds, ["NVIDIA A100"] * 3 + ["Tesla T4"]) == (
        "rank 3 (Tesla T4) needs 1.8 times the time of rank 0 (NVIDIA A100), the fastest: 44% of the other ranks' time is "
        "waiting; use GPUs of one kind (under Ray: world.node_labels), or fewer ranks without it"
    )
    assert imbalance(seconds, ["NVIDIA A100"] * 4).endswith("look for other programs there, heat or a power limit")


def test_a_training_with_a_slow_rank_says_so(tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_time, "EVERY", 1)
    monkeypatch.setattr(rank_times, "IN_A_ROW", 3)

    def slow_down(parts: Parts, hooks: Hooks, at: Progress, loader: Loader) -> Loader:
        if parts.world.rank == 1:
            parts.method.networks["D_A"].register_forward_pre_hook(lambda *_: time.sleep(0.1))
        return loader

    config = tiny_run(stop_after=16)
    assert set(run_ranks(lambda world: go(config, world, slow_down), 2)) == {"FINISHED"}
    found = records(config)
    (warning,) = [r["text"] for r in found if r["kind"] == "message" and "of the other ranks' time" in r["text"]]
    assert warning.startswith("warning: rank 1 (")
    fractions = [r["values"]["perf/rank_wait_frac"] for r in found if r["kind"] == "metrics"]
    assert len(fractions) == 4 and min(fractions) > 0.2
