"""The moving average of the translators against sums that are computed here."""

import copy

import pytest
import torch
from torch import Tensor, nn

from cyclegan_dist.step.average import MovingAverage


def averages(values: list[float], **options) -> list[float]:
    """The average after each of these values of a weight."""
    network = nn.Linear(1, 1, bias=False).double()
    average, found = MovingAverage({"AB": network}, **options), []
    for value in values:
        nn.init.constant_(network.weight, value)
        average.begin()
        average.update()
        found.append(average.translators["AB"].weight.item())
    return found


def test_without_a_ramp_weights_halve_their_share_in_a_half_life() -> None:
    """At a half-life of 40 images and 8 images in an update, 5 updates halve it."""
    first, *rest = averages([1.0] + [0.0] * 15, half_life=40.0, ramp=0.0, batch=8)
    assert first == 1  # the first average is the first value
    assert [rest[4], rest[9], rest[14]] == pytest.approx([1 / 2, 1 / 4, 1 / 8], rel=1e-12)


def test_the_half_life_is_at_most_a_share_of_the_images_so_far() -> None:
    values = torch.rand(60, dtype=torch.float64).tolist()
    expected, average = [], 0.0
    for done, value in enumerate(values):  # 4 images an update
        half_life = min(10.0, 0.1 * 4 * done)
        decay = 0.5 ** (4 / half_life) if half_life else 0.0
        average = decay * average + (1 - decay) * value
        expected.append(average)
    assert averages(values, half_life=10.0, ramp=0.1, batch=4) == pytest.approx(expected, rel=1e-12)


def test_the_random_start_does_not_stay() -> None:
    """After 10,000 updates with a half-life of 6931 images, a decay of .9999, it had 37 % without a ramp."""
    for ramp, kept in ((0.0, 0.37), (0.05, 0.0)):
        average = MovingAverage({"AB": nn.Linear(1, 1)}, half_life=6931.0, ramp=ramp, batch=1)
        shares = torch.tensor([average.share(done) for done in range(1, 10_000)], dtype=torch.float64)
        assert (1 - shares).prod().item() == pytest.approx(kept, abs=0.003)


def test_shares_of_long_half_lives_keep_their_digits() -> None:
    average = MovingAverage({"AB": nn.Linear(1, 1)}, half_life=1e12, ramp=0.0, batch=1)
    assert average.share(1) == pytest.approx(0.6931471805599453e-12, rel=1e-12)


def test_nothing_is_added_once_a_gradient_was_not_finite() -> None:
    network = nn.Linear(1, 1, bias=False)
    average = MovingAverage({"AB": network}, half_life=1.0, ramp=0.0, batch=1)
    for value, found in ((1.0, 0.0), (5.0, 1.0)):
        nn.init.constant_(network.weight, value)
        average.begin()
        average.update(torch.tensor(found))
    assert average.translators["AB"].weight.item() == 1


def test_statistics_of_batch_norm_are_copied() -> None:
    network = nn.BatchNorm2d(2)
    average = MovingAverage({"AB": network}, half_life=10.0, ramp=0.0, batch=1)
    network(torch.rand(2, 2, 3, 3))
    average.begin()
    average.update()
    averaged = average.translators["AB"]
    assert isinstance(averaged, nn.BatchNorm2d) and torch.equal(averaged.running_mean, network.running_mean)  # pyright: ignore


def test_a_resumed_average_continues_and_has_the_keys_of_earlier_checkpoints() -> None:
    def moved(network: nn.Module, average: MovingAverage, steps: range) -> Tensor:
        for number in steps:
            nn.init.constant_(network.weight, number**0.5)  # pyright: ignore
            average.begin()
            average.update()
        return average.translators["AB"].weight.detach()

    options = {"half_life": 30.0, "ramp": 0.2, "batch": 2}
    whole, first, second = (nn.Linear(1, 1, bias=False) for _ in range(3))
    expected = moved(whole, MovingAverage({"AB": whole}, **options), range(9))
    begun, resumed = (MovingAverage({"AB": network}, **options) for network in (first, second))
    moved(first, begun, range(5))
    state = copy.deepcopy(begun.state_dict())
    assert list(state) == ["n_averaged", "module.G_AB.weight"] and int(state["n_averaged"]) == 5
    resumed.load_state_dict(state)
    assert torch.equal(moved(second, resumed, range(5, 9)), expected)
