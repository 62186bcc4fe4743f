import copy
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
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


def test_domains_of_more_than_eight_bits(snapshot: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(snapshot, tmp_path / "deep"))
    card = json.loads((folder / "card.json").read_text())
    ranges = {
        "A": {"dtype": "uint16", "black": 0, "white": 4095},
        "B": {"dtype": "float32", "black": 0, "white": 1},
    }
    (folder / "card.json").write_text(json.dumps(card | {"values": ranges}))
    handler = RequestHandler(Snapshot.open(folder), torch.device("cpu"), max_pixels=40_000)
    pixels = np.random.default_rng(0).integers(0, 4096, (20, 24, 3), dtype=np.uint16)
    request = TranslationRequest(
        data=bytes(imagecodecs.png_encode(pixels)), direction="AB", reconstruction=True, extension="jpg"
    )
    work = handler.decode(request)
    assert torch.allclose(work.pixels, torch.from_numpy(pixels / 2047.5 - 1).permute(2, 0, 1).float())
    answer = handler.encode(handler.translate([work])[0], request)
    assert answer.reconstruction is not None
    assert (answer.image.extension, answer.reconstruction.extension) == ("npy", "png")
    assert np.load(io.BytesIO(answer.image.data)).dtype == np.float32
    back = imagecodecs.png_decode(answer.reconstruction.data)
    assert (back.dtype, back.shape) == (np.uint16, pixels.shape) and 255 < back.max() <= 4095
