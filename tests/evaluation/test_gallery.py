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
from tests.translation.conftest import make_snapshot

VALUES = {"loss/G_AB": 1.0, "loss/D_B": 0.5, "loss/cycle_A": 0.2, "lr/G": 2e-4}


class Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:matplotlib")
def test_the_page_stands_alone_and_shows_every_picture(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for step in range(3):
            journal.write("metrics", step=step, nimg=10 * step, values=VALUES)
    images = [torch.randint(0, 256, (3, 12, 20), dtype=torch.uint8) for _ in range(2)]
    pictures = translated(open_translators(Snapshot.open(make_snapshot(tmp_path / "snapshot"))), "AB", images)
    sections = [Section("A to B", ["one", "<script>alert(1)</script>"], pictures)]
    page = write_gallery(
        tmp_path / "page",
        title="t",
        facts={"error": "3"},
        sections=sections,
        journal=tmp_path / JOURNAL,
        panels=CycleGANConfig().panels,
    )
    text = page.read_text()
    assert "<script>" not in text and "&lt;script&gt;" in text
    sources = Sources()
    sources.feed(text)
    assert len(sources.found) == 1 + 2 * 3
    for source in sources.found:
        assert not source.startswith(("http", "/"))
        assert size_of(page.parent / source)[0] >= 20


def test_error_in_grey_levels() -> None:
    black, grey = torch.zeros(3, 4, 4, dtype=torch.uint8), torch.full((3, 4, 4), 30, dtype=torch.uint8)
    assert mean_absolute_error([black, black], [grey, black]) == 15
