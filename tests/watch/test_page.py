"""The page in a real browser: curves, grids over time, log, and what changes while it is open."""

import asyncio
from pathlib import Path

import pytest

from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.server import address, answering, listen
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import Journal, append
from cyclegan_dist.watch.app import make_app
from tests.service.chromium import PROGRAM, Tab, browser
from tests.watch.runs import add_grid, losses, make_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")]
CAPTION = "document.getElementById('caption').textContent"
UNNAMED = """[...document.querySelectorAll('button, a, input, svg, img')].filter((node) => !node.closest('[hidden]') &&
  !(node.getAttribute('aria-label') || node.alt || node.textContent.trim() || node.labels?.length ||
    node.querySelector('img[alt]')))"""


async def text(tab: Tab, selector: str) -> str:
    return await tab.value(f"document.querySelector('{selector}').textContent")


async def press(tab: Tab, key: str, code: int) -> None:
    for kind in ("keyDown", "keyUp"):
        await tab.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)


async def watch_a_run(tab: Tab, url: str, run: Path) -> None:
    await tab.open(f"{url}#live", 1200, 900)
    await tab.until(f"{CAPTION} === 'after 8 images (2 of 2)'")
    assert await text(tab, "#state") == "running"
    assert "A is horse, B is zebra · 12 of 100 images · 2 images/s" in await text(tab, "#progress")
    titles = await tab.value("[...document.querySelectorAll('h3')].map((node) => node.textContent).join()")
    assert titles.startswith("loss/G AB, BA,loss/D,perf/")
    assert await tab.value("document.querySelectorAll('.chart path.a').length") == 1
    assert (await text(tab, "pre")).endswith("look at <b>this</b>")
    assert await tab.value(f"{UNNAMED}.length") == 0
    with Journal(run) as journal:
        journal.write("metrics", step=4, nimg=16, values=losses(16))
        add_grid(run, journal, 3)
    await tab.until(f"{CAPTION} === 'after 12 images (3 of 3)'")
    await tab.until("document.querySelector('pre').textContent.includes('images 16/100')")
    await tab.value("document.getElementById('slider').focus()")
    await press(tab, "ArrowLeft", 37)
    await tab.until(f"{CAPTION} === 'after 8 images (2 of 3)'")
    assert await tab.value("document.getElementById('newest').getAttribute('aria-pressed')") == "false"
    await tab.value("document.getElementById('play').click()")
    await tab.until(f"{CAPTION} === 'after 4 images (1 of 3)'")
    append(run, "end", status="FINISHED")
    await tab.until("document.getElementById('state').textContent === 'finished'")


async def on_a_phone(tab: Tab, url: str) -> None:
    await tab.open(f"{url}?phone#100%", 390, 844)
    await tab.until("document.querySelectorAll('#runs tbody tr').length === 2")
    assert await tab.value("document.documentElement.scrollWidth") <= 390
    await tab.value("[...document.querySelectorAll('#runs a')].find((link) => link.textContent === 'old').click()")
    await tab.until("document.getElementById('name').textContent === 'old'")
    await tab.until(f"{CAPTION} === 'after 4 images (1 of 1)'")


def test_the_page_follows_runs(tmp_path: Path) -> None:
    run = make_run(tmp_path / "live")
    make_run(tmp_path / "old", points=2, grids=1, end="FAILED")

    async def look(url: str) -> None:
        async with browser() as tab:
            await watch_a_run(tab, url, run)
            await on_a_phone(tab, url)
            assert not tab.complaints

    listener = listen("127.0.0.1", 0)
    with listener, answering(make_app(tmp_path, AllowedHosts.of(listener)), listener), lock(RunFolder(run).lock):
        asyncio.run(look(address(listener)))
