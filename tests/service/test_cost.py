from pathlib import Path

import pytest
import torch

from cyclegan_dist.models import cost
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.service.cost import Backlog, seconds_per_pixel
from cyclegan_dist.service.handler import DecodedRequest, RequestHandler
from cyclegan_dist.service.messages import Refusal


def request(width: int, height: int, reconstruction: bool = False) -> DecodedRequest:
    pixels = torch.empty(3, height, width, dtype=torch.uint8)
    return DecodedRequest(pixels=pixels, direction="AB", reconstruction=reconstruction)


def test_the_refusal_names_a_size_that_is_accepted() -> None:
    backlog = Backlog(0.001, 10)
    with pytest.raises(Refusal) as found:
        backlog.refuse_slow(400, 100, False)
    assert (found.value.status, found.value.sentence) == (
        413,
        "400x100 would take about 40 seconds, and the limit is 10: reduce the image to at most 10,000 pixels, "
        "such as 200x50",
    )
    backlog.refuse_slow(200, 50, False)
    with pytest.raises(Refusal):
        backlog.refuse_slow(200, 50, True)  # two translations
    assert backlog.max_pixels(True) == 5_000


def test_requests_are_admitted_until_their_work_reaches_the_limit() -> None:
    backlog = Backlog(0.001, 10)
    first, second = request(60, 100), request(60, 100)
    backlog.admit(first)
    with pytest.raises(Refusal) as found:
        backlog.admit(second)
    assert (found.value.status, found.value.retry_after) == (503, 2)
    backlog.start([first])
    backlog.withdraw(first)  # it is being computed, all the same
    with pytest.raises(Refusal):
        backlog.admit(second)
    backlog.finish([first])
    backlog.admit(second)
    backlog.withdraw(second)
    backlog.admit(first)


def test_the_estimate_follows_what_batches_show_of_larger_ones() -> None:
    backlog, small, large = Backlog(1e-4, 100), request(10, 10), request(500, 200)
    for work, seconds, pixels in ((small, 100, 1_000_000), (large, 3000, 666_667), (small, 1e-9, 1_333_333)):
        backlog.admit(work)
        backlog.finish([work], seconds)
        assert backlog.max_pixels() == pytest.approx(pixels, rel=1e-3)


def test_the_cost_of_a_pixel_is_measured(snapshot: Path) -> None:
    handler = RequestHandler(Snapshot.open(snapshot), torch.device("cpu"), max_pixels=40_000)
    assert 1e-9 < seconds_per_pixel(handler) < 1e-3


def test_a_slow_model_is_not_timed_again(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = RequestHandler(Snapshot.open(snapshot), torch.device("cpu"), max_pixels=40_000)
    monkeypatch.setattr(cost, "SLOW_S", 0.0)
    monkeypatch.setattr(handler, "translate", lambda batch: pytest.fail("timed again"))  # pyright: ignore
    assert seconds_per_pixel(handler) > 0
