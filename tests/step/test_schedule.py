import itertools

import numpy as np
import pytest
import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.schedule import Schedule, ScheduleConfig, learning_rate_factor
from cyclegan_dist.training.hooks.progress import Progress


def test_linear_is_the_schedule_of_the_paper() -> None:
    config = ScheduleConfig()
    factors = [learning_rate_factor(config, epoch) for epoch in range(200)]
    assert factors[:100] == [1.0] * 100
    assert factors[100] == pytest.approx(100 / 101)
    assert factors[199] == pytest.approx(1 / 101)
    steps = {round(a - b, 12) for a, b in itertools.pairwise(factors[99:])}
    assert steps == {round(1 / 101, 12)}


def test_step_and_cosine() -> None:
    step = ScheduleConfig(policy="step", step_epochs=50)
    assert [learning_rate_factor(step, e) for e in (0, 49, 50, 149)] == pytest.approx([1, 1, 0.1, 0.01])
    cosine = ScheduleConfig(policy="cosine", n_epochs=50, n_epochs_decay=50)
    assert [learning_rate_factor(cosine, e) for e in (0, 50, 100)] == pytest.approx([1, 0.5, 0])


@pytest.mark.parametrize("policy", ["linear", "step", "cosine"])
def test_with_timing_start_everything_falls_one_epoch_earlier(policy) -> None:
    end, start = (
        ScheduleConfig(policy=policy, n_epochs=4, n_epochs_decay=3, step_epochs=3, timing=timing)
        for timing in ("end", "start")
    )
    shifted = [learning_rate_factor(end, epoch) for epoch in range(1, 8)]
    assert [learning_rate_factor(start, epoch) for epoch in range(7)] == shifted
    assert ScheduleConfig().timing == "end"


def test_timing_start_is_what_torch_computes_when_stepped_before_each_epoch() -> None:
    """The published loop: `update_learning_rate` begins each epoch, and `linear` is this function of its counter."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda e: 1.0 - max(0, e + 1 - 3) / float(2 + 1))
    config, found = ScheduleConfig(n_epochs=3, n_epochs_decay=2, timing="start"), []
    for _ in range(5):
        optimizer.step()
        scheduler.step()
        found.append(scheduler.get_last_lr()[0])
    assert [learning_rate_factor(config, epoch) for epoch in range(5)] == pytest.approx(found)
    assert found[-1] == 0


def test_timing_image_changes_the_rate_in_each_update_and_ends_at_zero() -> None:
    linear, cosine = (
        ScheduleConfig(policy=p, n_epochs=2, n_epochs_decay=4, timing="image") for p in ("linear", "cosine")
    )
    for thirds in range(19):  # of an epoch
        epochs = thirds / 3
        assert learning_rate_factor(linear, epochs) == pytest.approx(min(1, (6 - epochs) / 4))
        assert learning_rate_factor(cosine, epochs) == pytest.approx((1 + np.cos(np.pi * epochs / 6)) / 2)
    constant = ScheduleConfig(n_epochs=2, n_epochs_decay=0, timing="image")
    assert learning_rate_factor(constant, 1.9) == 1
    assert learning_rate_factor(ScheduleConfig(policy="cosine", n_epochs=2, n_epochs_decay=4), 3.9) == pytest.approx(
        0.5
    )


@pytest.mark.parametrize("policy", ["step", "plateau"])
def test_timing_image_is_refused_for_policies_that_change_by_epochs(policy) -> None:
    with pytest.raises(UsageError, match="timing image"):
        ScheduleConfig(policy=policy, timing="image")


def test_progress_counts_parts_of_epochs_of_its_segment() -> None:
    at = Progress(step=7, nimg=35, batch_size=5, epoch_size=20, total=100, segment_nimg=10)
    assert (at.schedule_epoch, at.schedule_epochs) == (1, 1.25)


def test_plateau_is_the_same_with_both_timings() -> None:
    end, start = (Schedule(ScheduleConfig(policy="plateau", timing=timing)) for timing in ("end", "start"))
    for number in range(9):
        epoch(end, 1.0)
        epoch(start, 1.0)
        assert end.factor(number) == start.factor(number)
    assert end.factor(9) == pytest.approx(0.2)


def epoch(schedule: Schedule, loss: float) -> None:
    schedule.observe(loss + 0.5, ends_epoch=False)
    schedule.observe(loss - 0.5, ends_epoch=True)


def test_plateau_lowers_the_rate_when_the_loss_stops_falling() -> None:
    schedule = Schedule(ScheduleConfig(policy="plateau"))
    for i in range(10):
        epoch(schedule, 10.0 - i)
    assert schedule.factor(10) == 1.0
    for _ in range(6):
        epoch(schedule, 1.0)
    assert schedule.factor(16) == pytest.approx(0.2)


def test_plateau_resumes_within_an_epoch() -> None:
    one = Schedule(ScheduleConfig(policy="plateau"))
    for _ in range(6):
        epoch(one, 1.0)
    one.observe(3.0, ends_epoch=False)
    two = Schedule(ScheduleConfig(policy="plateau"))
    two.load_state_dict(one.state_dict())
    for schedule in (one, two):
        schedule.observe(1.0, ends_epoch=True)
    assert one.factor(0) == two.factor(0) == pytest.approx(0.2)
    assert one.state_dict() == two.state_dict()
