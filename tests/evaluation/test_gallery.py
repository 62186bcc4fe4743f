import asyncio
import base64
import hashlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from cyclegan_dist.evaluation.gallery import Section, mean_absolute_error, translated, write_gallery
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.models.translator import open_translators
from cyclegan_dist.tracking.journal import JOURNAL, Journal
from tests.conftest import size_of
from tests.service.chromium import PROGRAM, browser
from tests.translation.conftest import make_snapshot

VALUES = {"loss/G_AB": 1.0, "loss/D_B": 0.5, "loss/cycle_A": 0.2, "lr/G": 2e-4}
EVIL = "<script>alert(1)</script>"


class Parsed(HTMLParser):
    """What a page loads and links to, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value for name, value in attrs if name in ("src", "href", "srcset") and value]

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and data.strip():
            self.scripts.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    with Journal(folder) as journal:
        for step in range(3):
            journal.write("metrics", step=step, nimg=10 * step, values=VALUES)
    images = [torch.randint(0, 256, (3, 12, 20), dtype=torch.uint8) for _ in range(2)]
    pictures = translated(open_translators(Snapshot.open(make_snapshot(folder / "snapshot"))), "AB", images)
    return write_gallery(
        folder / "page",
        title="t",
        facts={"error": "3"},
        sections=[Section("A to B", ["one", EVIL], pictures)],
        journal=folder / JOURNAL,
        panels=CycleGANConfig().panels,
        figures=[["figure", "value"], ["kid_AB", "0.1"]],
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib")
def test_the_page_stands_alone_and_shows_every_picture(page: Path) -> None:
    parsed = Parsed(page.read_text())
    curves = [name for name in parsed.sources if name.startswith("curves")]
    assert len(curves) == 3 * 2  # two panels and the learning rate, each for light and dark pages
    assert len(parsed.sources) == len(curves) + 2 * 3 * 2  # a picture is a link to its file
    for source in parsed.sources:
        assert not source.startswith(("http", "/"))
        assert size_of(page.parent / source)[0] >= 20
    assert "adversarial over images seen; at 20: G_AB 1, D_B 0.5" in page.read_text()


def test_no_script_runs_but_the_one_of_the_page(page: Path) -> None:
    text = page.read_text()
    (script,) = Parsed(text).scripts
    assert EVIL not in text and "&lt;script&gt;" in text
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; script-src 'sha256-{digest}';" in text


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")
def test_pictures_are_compared_by_keyboard_from_disk(page: Path) -> None:
    async def look() -> None:
        async with browser() as tab:
            await tab.open(page.as_uri(), 390, 700)
            assert await tab.value("document.documentElement.scrollWidth") <= 390
            await tab.value("document.querySelector('figure a').focus()")
            await tab.press("Enter")
            await tab.until("document.querySelector('dialog').open && !document.querySelector('.compare').hidden")
            assert await tab.value("document.querySelector('.compare .after img').alt") == "one, translation"
            assert not await tab.unnamed()
            await tab.press("ArrowRight")
            await tab.until("document.querySelector('#name').textContent.includes('(2 of 2)')")
            await tab.value("document.querySelector('.compare input').focus()")
            await tab.press("ArrowRight")
            await tab.until("document.querySelector('.compare').style.getPropertyValue('--at') === '51%'")
            assert "left 51 %: input, right 49 %: translation" in await tab.value(
                "document.querySelector('.compare input').getAttribute('aria-valuetext')"
            )
            await tab.value("document.querySelectorAll('#sides input')[1].click()")
            await tab.until("document.querySelector('.compare .after img').alt.endsWith('reconstruction')")
            await tab.press("Escape")
            await tab.until("!document.querySelector('dialog').open")
            await tab.until("(document.activeElement.href ?? '').endsWith('0-0001-reconstruction.png')")
            assert not tab.complaints

    asyncio.run(look())


def test_error_in_grey_levels() -> None:
    black, grey = torch.zeros(3, 4, 4, dtype=torch.uint8), torch.full((3, 4, 4), 30, dtype=torch.uint8)
    assert mean_absolute_error([black, black], [grey, black]) == 15
