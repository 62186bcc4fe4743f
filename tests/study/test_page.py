"""Sessions in a real browser, with short exposures and few trials."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.server import address, answering, listen
from cyclegan_dist.study.answers import ANSWERS, Answers
from cyclegan_dist.study.app import make_app
from tests.service.chromium import PROGRAM, Tab, browser
from tests.study.studies import make_study

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")]
CHOOSING = "document.querySelector('.choosing') && document.getElementById('trial')?.hidden === false"
SHOWN = "document.querySelector('.shown')"


def on(section: str) -> str:
    return f"document.getElementById('{section}')?.hidden === false"


async def press(tab: Tab, key: str) -> None:
    text = {"Enter": "\r"}.get(key, "")
    for kind in ("keyDown", "keyUp"):
        code = {"Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}[key]
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        await tab.call("Input.dispatchKeyEvent", type=kind, **keys, **({"text": text} if kind == "keyDown" else {}))


async def enter(tab: Tab, selector: str) -> None:
    await tab.value(f"document.querySelector('{selector}').focus()")
    await press(tab, "Enter")


async def tap(tab: Tab, selector: str) -> None:
    box = f"document.querySelector('{selector}').getBoundingClientRect()"
    point = {"x": await tab.value(f"{box}.x + {box}.width / 2"), "y": await tab.value(f"{box}.y + {box}.height / 2")}
    await tab.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[point])
    await tab.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


async def by_keyboard(tab: Tab, url: str) -> None:
    """A whole session of one practice trial and two scored ones. The page is reloaded in the last, while it shows."""
    await tab.open(f"{url}#keyboard", 900, 700)
    await tab.until(on("consent"))
    assert "Be <b>careful</b>." in await tab.value("document.getElementById('consent').textContent")
    await enter(tab, "#consent button")
    await tab.until(on("ready"))
    await enter(tab, "#ready button")
    await tab.until(CHOOSING)
    assert await tab.value("[...document.images].every((image) => !image.src)")
    await press(tab, "ArrowLeft")
    await tab.until(on("continue"))
    feedback = await tab.value("document.querySelector('#trial [role=status]').textContent")
    assert feedback in ("Correct: the left image was real.", "Wrong: the right image was real.")
    assert await tab.value("document.activeElement.id") == "continue"
    await press(tab, "Enter")
    await tab.until(on("ready"))
    await enter(tab, "#ready button")
    await tab.until(SHOWN)
    await press(tab, "ArrowRight")  # too early: nothing happens
    await tab.until(CHOOSING)
    await press(tab, "ArrowRight")
    await tab.until(f"{SHOWN} && document.querySelector('#trial h1').textContent === 'Pair 2 of 2'")
    await tab.value("location.reload()")
    await tab.until(on("ready"))
    await enter(tab, "#ready button")
    await tab.until(CHOOSING)
    assert "shown already" in await tab.value("document.querySelector('#trial [role=status]').textContent")
    await press(tab, "ArrowLeft")
    await tab.until("document.getElementById('message')?.textContent.includes('Thank you')")


async def by_touch(tab: Tab, url: str) -> None:
    """A whole session on a phone."""
    await tab.call("Emulation.setTouchEmulationEnabled", enabled=True)
    await tab.open(f"{url}#touch", 360, 640)
    for section in ("consent", "ready"):
        await tab.until(on(section))
        await tap(tab, f"#{section} button")
    for number in (1, 2, 3):
        await tab.until(CHOOSING)
        assert await tab.value("document.documentElement.scrollWidth") <= 360
        await tap(tab, "[data-side=right]")
        if number == 1:
            await tab.until(on("continue"))
            await tap(tab, "#continue")
            await tab.until(on("ready"))
            await tap(tab, "#ready button")
        await tab.until(f"!({CHOOSING})")
    await tab.until("document.getElementById('message')?.textContent.includes('Thank you')")


async def with_a_bad_link(tab: Tab, url: str) -> None:
    await tab.open(f"{url}#nothing", 900, 700)
    await tab.until("document.getElementById('message')?.textContent.includes('This link is not valid')")


def test_sessions_by_keyboard_and_by_touch(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    study = make_study(folder, practice=1, scored=2, exposure_ms=300)
    consent = (folder / "consent.txt").read_text()

    async def play(url: str) -> None:
        async with browser() as tab:
            await by_keyboard(tab, url)
            await by_touch(tab, url)
            assert not tab.complaints
            await with_a_bad_link(tab, url)

    listener = listen("127.0.0.1", 0)
    with listener, closing(Answers(folder)) as answers:
        for token in ("keyboard", "touch"):
            answers.add([token], 1e12)
        app = make_app(folder, study, answers, consent, AllowedHosts.of(listener))
        with answering(app, listener):
            asyncio.run(play(address(listener)))
    query = "SELECT choice, exposure_ms, hidden FROM trial JOIN session ON id = session ORDER BY session.rowid, number"
    with closing(sqlite3.connect(folder / ANSWERS)) as database:
        choices, exposures, hidden = zip(*database.execute(query).fetchall(), strict=True)
    assert choices == ("left", "right", "left", "right", "right", "right")
    assert [exposure is None for exposure in exposures] == [False, False, True, False, False, False]
    assert not any(hidden)
    assert all(250 < exposure < 600 for exposure in exposures if exposure is not None)  # longer on a busy machine
