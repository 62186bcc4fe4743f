"""A process that translates, with snapshots that change."""

import asyncio
import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cyclegan_dist.orchestration.serving import ServingOptions
from cyclegan_dist.service.messages import Refusal, Translation, TranslationRequest
from tests.service.running import make_snapshot, picture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments:DeprecationWarning"),  # ray.serve, when imported
]
OPTIONS = ServingOptions(
    max_bytes=10**6,
    max_pixels=10**6,
    replicas=1,
    batch_size=4,
    batch_wait_s=0.05,
    deadline_s=30,
    requests_per_client=0,
)


def damage(folder: str) -> None:
    weights = Path(folder) / "G_AB.safetensors"
    weights.unlink()  # the file may be mapped into memory
    weights.write_bytes(b"damaged")


def test_each_request_gets_the_snapshot_that_it_names_and_two_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cyclegan_dist.models.snapshot import Snapshot
    from cyclegan_dist.models.translator import Translator
    from cyclegan_dist.orchestration import replicas

    def alone(**_: object) -> Callable[..., Any]:  # Serve's needs a replica of a cluster
        async def of_one(translate: Any, work: Any) -> Any:
            return (await translate([work]))[0]

        return lambda translate: partial(of_one, translate)

    monkeypatch.setattr(replicas.serve, "batch", alone)
    folders = [str(make_snapshot(tmp_path / str(number), seed=number)) for number in range(3)]
    image = picture()
    expected = [Translator(Snapshot.open(Path(folder)), "AB").translate(image).tobytes() for folder in folders]
    assert len(set(expected)) == 3

    async def go() -> None:
        replica = replicas.Replica(folders[0], False, OPTIONS)

        async def translated(number: int) -> bytes:
            made = await replica(TranslationRequest(snapshot=folders[number], data=image, direction="AB"))
            assert isinstance(made, Translation)
            return Image.open(io.BytesIO(made.image.data)).tobytes()

        for numbers in ([0, 1, 0, 1], [2, 1, 2]):
            assert await asyncio.gather(*map(translated, numbers)) == [expected[number] for number in numbers]

        damage(folders[0])  # no longer in memory
        refusal = await replica(TranslationRequest(snapshot=folders[0], data=image, direction="AB"))
        assert isinstance(refusal, Refusal) and refusal.status == 503
        for folder in folders[1:]:
            damage(folder)  # in memory
        assert [await translated(1), await translated(2)] == expected[1:]

        assert "cannot be loaded" in await replica.load(folders[0]) and not await replica.load(folders[1])
        fast, slow = (replica._loaded[folder] for folder in folders[1:])  # pyright: ignore[reportPrivateUsage]
        replica._loaded[folders[2]] = replace(slow, seconds_per_pixel=1000 * fast.seconds_per_pixel)  # pyright: ignore
        most = [await replica.handler(folder) and await replica.max_pixels() for folder in (*folders[1:], folders[1])]
        assert most[0] == most[2] > 100 * most[1]  # also after the way back

        shutil.rmtree(folders[0])
        recreated = replicas.Replica(
            folders[0], False, OPTIONS
        )  # for one that died after its first snapshot was deleted
        assert "cannot be loaded" in await recreated.load(folders[0])
        other = str(make_snapshot(tmp_path / "again", seed=1))
        made = await recreated(TranslationRequest(snapshot=other, data=image, direction="AB"))
        assert isinstance(made, Translation)
        assert Image.open(io.BytesIO(made.image.data)).tobytes() == expected[1]

        works = [
            (handler, handler.decode(TranslationRequest(data=image, direction="AB")))
            for folder in (folders[1], folders[2], folders[1])
            for handler in [await replica.handler(folder)]
        ]
        one, other, again = (images[0] for images in replicas.translated(works))  # in one batch
        assert torch.equal(one, again) and not torch.equal(one, other)

    asyncio.run(go())
