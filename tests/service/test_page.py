"""The page in a real browser."""

import asyncio
import base64
import io
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

from cyclegan_dist.models.inference import translate
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.service import authentication
from cyclegan_dist.service.access import Access
from cyclegan_dist.service.authentication import Authentication
from cyclegan_dist.service.tokens import create_token, revoke_token
from tests.service.chromium import PROGRAM, Tab, browser
from tests.service.running import picture, running

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")]

PIXELS = """
(async () => {
  const image = document.querySelector(".%s img");
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  canvas.getContext("2d").drawImage(image, 0, 0);
  const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
})()
"""
REQUESTS = "performance.getEntriesByType('resource').filter((entry) => entry.name.includes('translate')).length"
STATUS = "document.querySelector('[role=status]').textContent"
ALERT = "document.querySelector('#error').textContent"
HEIGHT = "document.querySelector('%s').getBoundingClientRect().height"


async def shown(tab: Tab, side: str, alt: str) -> torch.Tensor:
    """The pixels of a picture of the page, C x H x W uint8: of the one before or after the slider."""
    await tab.until(f"document.querySelector('.{side} img').alt === {alt!r}")
    data = base64.b64decode(await tab.value(PIXELS % side))
    return pil_to_tensor(Image.open(io.BytesIO(data)).convert("RGB"))


def test_an_image_is_dropped_and_its_translation_is_seen(service: str, snapshot: Path, tmp_path: Path) -> None:
    file = tmp_path / "<img src=x>.png"
    file.write_bytes(picture(40, 32))
    (tmp_path / "notes.txt").write_text("no image")

    async def look() -> dict[str, torch.Tensor]:
        async with browser() as tab:
            await tab.open(service, 1000, 800)
            await tab.drop(file, ".drop")
            await tab.until(f"{STATUS}.startsWith('Translated <img src=x>.png, A to B')")
            found = {
                "input": await shown(tab, "before", "Input, A"),
                "translation": await shown(tab, "after", "Translation, B"),
            }
            assert await tab.value("document.querySelector('#download').download") == "<img src=x>-AB.png"
            await tab.value("document.querySelector('input[value=reconstruction]').click()")
            found["reconstruction"] = await shown(tab, "after", "Reconstruction, A")
            await tab.value("document.querySelector('input[value=BA]').click()")
            found["back"] = await shown(tab, "after", "Translation, A")
            assert await tab.value("document.querySelectorAll('.past').length") == 2
            await tab.value("document.querySelectorAll('.past')[1].click()")  # shown again, without a request
            assert torch.equal(await shown(tab, "after", "Translation, B"), found["translation"])
            assert await tab.value("document.querySelector('input[name=direction]:checked').value") == "AB"
            await tab.value("document.querySelector('input[value=BA]').click()")  # this was translated before, too
            assert torch.equal(await shown(tab, "after", "Translation, A"), found["back"])
            await tab.value("document.querySelector('input[value=AB]').click()")
            await shown(tab, "after", "Translation, B")
            assert await tab.value("document.querySelectorAll('.past').length") == 2
            await tab.value("document.querySelector('.compare input').focus()")
            await tab.press("ArrowLeft")
            assert await tab.value("document.querySelector('.compare').style.getPropertyValue('--at')") == "49%"
            assert not tab.complaints and not await tab.unnamed()
            await tab.drop(tmp_path / "notes.txt", ".compare")
            await tab.until(ALERT)
            assert "notes.txt: " in await tab.value(ALERT) and "no image" in await tab.value(ALERT)
            assert torch.equal(await shown(tab, "after", "Translation, B"), found["translation"])
            await tab.value("document.querySelector('#clear').click()")
            assert await tab.value("document.querySelectorAll('.past').length") == 0
            assert not await tab.value("document.querySelector('.drop').hidden")
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


def test_the_page_asks_for_the_token_and_again_when_it_is_revoked(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "LOOK_S", 0)
    file, image = tmp_path / "tokens.json", tmp_path / "horse.png"
    _, secret = create_token(file, "ann")
    image.write_bytes(picture())

    async def give(tab: Tab, text: str) -> None:
        await tab.value(f"document.querySelector('#token').value = {text!r}")
        await tab.value("document.querySelector('#unlock button').click()")

    async def look(url: str) -> None:
        async with browser() as tab:
            await tab.open(url, 390, 800)
            assert await tab.value(HEIGHT % "#stage") == 0 and await tab.value("document.activeElement.id") == "token"
            assert await tab.value("document.documentElement.scrollWidth") <= 390 and not await tab.unnamed()
            await give(tab, "cgd_wrong")
            await tab.until("document.querySelector('#refused').textContent.startsWith('This token is unknown')")
            await give(tab, "two words")
            await tab.until("document.querySelector('#refused').textContent.startsWith('This is no token')")
            await tab.drop(image, "#unlock")
            await tab.until(f"{ALERT}.includes('Give the token first')")
            await give(tab, secret)  # what was dropped is translated now
            await tab.until(f"{STATUS}.startsWith('Translated horse.png')")
            assert await tab.value("sessionStorage.getItem('token')") == secret
            assert await tab.value("document.cookie + JSON.stringify(localStorage)") == "{}"
            await tab.value("document.querySelector('input[value=reconstruction]').click()")
            await shown(tab, "after", "Reconstruction, A")
            await tab.open(url, 390, 800)  # the tab still has it
            assert await tab.value(HEIGHT % "#unlock") == 0
            revoke_token(file, "ann")
            await tab.drop(image, ".drop")
            await tab.until("document.querySelector('#refused').textContent.includes('has been revoked')")
            _, other = create_token(file, "bob")
            await give(tab, other)
            await tab.until(f"{STATUS}.startsWith('Translated horse.png')")
            await tab.value("document.querySelector('#forget').click()")
            assert await tab.value("sessionStorage.getItem('token')") is None
            assert await tab.value("document.querySelectorAll('.past').length") == 0
            assert await tab.value(HEIGHT % "#unlock") > 0

    with running(snapshot, access=Access(authentication=Authentication(file, print))) as url:
        asyncio.run(look(url))


PASTE = """
(async () => {
  const canvas = new OffscreenCanvas(16, 16);
  canvas.getContext("2d").fillRect(0, 0, 8, 8);
  const image = await canvas.convertToBlob();
  const data = new DataTransfer();
  data.items.add(new File([image], "pasted.png", { type: "image/png" }));
  dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
})()
"""


def test_pictures_come_from_the_clipboard_and_the_camera(service: str, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(bytes(1_000_001))

    async def look() -> None:
        async with browser() as tab:
            await tab.open(service, 390, 800)
            await tab.value(PASTE)
            await tab.until(f"{STATUS}.startsWith('Translated pasted.png, A to B')")
            await tab.value("document.querySelector('#camera').click()")
            await tab.until("document.querySelector('#shoot').open && document.querySelector('video').readyState > 2")
            assert not await tab.unnamed()
            await tab.value("document.querySelector('#take').click()")
            await tab.until(ALERT)  # the camera's pictures are larger than the limit of this service
            assert re.match(r"camera.jpg: .* exceed the limit of 40,000 pixels", await tab.value(ALERT))
            assert await tab.value("document.querySelector('video').srcObject") is None  # and the camera is off
            sent = await tab.value(REQUESTS)
            await tab.drop(tmp_path / "large.png", ".compare")
            await tab.until(f"{ALERT}.startsWith('large.png: the file exceeds the limit of 1 megabytes')")
            assert await tab.value(REQUESTS) == sent == 2

    asyncio.run(look())
