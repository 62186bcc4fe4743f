"""The page in a real browser."""

import asyncio
import base64
import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from cyclegan_dist.models.inference import translate
from cyclegan_dist.models.snapshot import Snapshot
from tests.service.chromium import PROGRAM, Tab, browser
from tests.service.running import picture

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")]

PIXELS = """
(async () => {
  const image = document.querySelector("#%s img");
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  canvas.getContext("2d").drawImage(image, 0, 0);
  const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
})()
"""


async def shown(tab: Tab, name: str) -> torch.Tensor:
    """The pixels of a picture of the page, C x H x W uint8."""
    data = base64.b64decode(await tab.value(PIXELS % name))
    return pil_to_tensor(Image.open(io.BytesIO(data)).convert("RGB"))


def test_an_image_is_dropped_and_its_translation_is_seen(service: str, snapshot: Path, tmp_path: Path) -> None:
    file = tmp_path / "<img src=x>.png"
    file.write_bytes(picture(40, 32))
    (tmp_path / "notes.txt").write_text("no image")

    async def look() -> dict[str, torch.Tensor]:
        async with browser() as tab:
            await tab.open(service, 1000, 800)
            await tab.drop(file, ".drop")
            await tab.until("document.getElementById('status').textContent.startsWith('Translated')")
            await tab.until("[...document.images].every((image) => image.complete && !image.hidden)")
            found = {name: await shown(tab, name) for name in ("input", "translation", "reconstruction")}
            assert await tab.value("document.querySelector('#translation a').download") == "translation-AB.png"
            assert "<img src=x>.png" in await tab.value("document.getElementById('status').textContent")
            await tab.value("document.querySelector('input[value=BA]').click()")
            await tab.until("document.getElementById('status').textContent.includes('from B to A.')")
            await tab.until("document.querySelector('#translation img').complete")
            found["back"] = await shown(tab, "translation")
            assert not tab.complaints
            await tab.drop(tmp_path / "notes.txt", ".drop")
            await tab.until("document.querySelector('[role=alert]')")
            assert "no image" in await tab.value("document.querySelector('[role=alert]').textContent")
            assert await tab.value("document.querySelector('.pictures').hidden")
            await tab.open(service, 360, 640)
            assert await tab.value("document.documentElement.scrollWidth") <= 360
            return found

    found = asyncio.run(look())
    pixels = pil_to_tensor(Image.open(file))
    forth, back = (Snapshot.open(snapshot).generator(way) for way in ("AB", "BA"))
    expected = translate(forth, pixels[None])
    assert torch.equal(found["input"], pixels)
    assert torch.equal(found["translation"], expected[0])
    assert torch.equal(found["reconstruction"], translate(back, expected)[0])
    assert torch.equal(found["back"], translate(back, pixels[None])[0])
