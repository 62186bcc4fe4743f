import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.service.handler import DecodedRequest, RequestHandler
from cyclegan_dist.service.messages import Refusal, TranslationRequest
from tests.service.running import picture


@pytest.fixture(scope="module")
def handler(snapshot: Path) -> RequestHandler:
    return RequestHandler(Snapshot.open(snapshot), torch.device("cpu"), max_pixels=40_000)


def decoded(handler: RequestHandler) -> list[DecodedRequest]:
    """Of two sizes and both directions."""
    requests = [
        TranslationRequest(data=picture(32, 32 + i % 2 * 8, i), direction="AB" if i % 3 else "BA", reconstruction=i > 4)
        for i in range(9)
    ]
    return [handler.decode(request) for request in requests]


def same(one: Sequence[Sequence[torch.Tensor]], two: Sequence[Sequence[torch.Tensor]]) -> bool:
    return all(torch.equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True))


def test_a_translation_does_not_depend_on_the_batch(handler: RequestHandler) -> None:
    batch = decoded(handler)
    alone = [handler.translate([work])[0] for work in batch]
    assert [len(images) for images in alone] == [1] * 5 + [2] * 4
    assert same(handler.translate(batch), alone)
    assert same(handler.translate(batch[::-1]), alone[::-1])


def test_images_that_are_computed_at_once_are_of_one_kind(
    handler: RequestHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU."""
    batch = decoded(handler)
    alone = handler.translate(batch)
    monkeypatch.setattr(handler, "device", torch.device("cuda"))
    groups = list(handler.groups(batch))
    assert sorted(i for group in groups for i in group) == list(range(9)) and 1 < len(groups) < 9
    for images, others in zip(handler.translate(batch), alone, strict=True):
        for image, other in zip(images, others, strict=True):
            assert (image.int() - other.int()).abs().max() <= 1


def test_large_images_are_translated_in_tiles(
    handler: RequestHandler, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = handler.decode(TranslationRequest(data=picture(100, 90), direction="AB", reconstruction=False))
    (whole,) = handler.translate([work])[0]
    monkeypatch.setattr("cyclegan_dist.service.handler.WHOLE_PIXELS", 5_000)
    monkeypatch.setattr("cyclegan_dist.service.handler.TILE", 32)
    (tiled,) = RequestHandler(Snapshot.open(snapshot), torch.device("cpu"), max_pixels=40_000).translate([work])[0]
    assert (tiled.int() - whole.int()).abs().max() <= 1


def test_a_refusal_can_be_sent_to_another_process() -> None:
    """Which copies it the way this does."""
    refusal = copy.copy(Refusal(413, "too large"))
    assert (refusal.status, refusal.sentence) == (413, "too large")
