"""The description of a registered version, read as Markdown."""

from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from cyclegan_dist.data.values import ValueRange
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.promotion.evidence import describe

DEEP = ValueRange("uint16", 0, 4095)


@pytest.mark.parametrize(
    ("names", "ways", "expected"),
    [
        ({}, "A to B", ["from domain A to B, trained", "AB or BA. Images", "Domain A: 7", "7 images of A and 10"]),
        (
            {"A": "sun", "B": "rain"},
            "sun to rain",
            [
                "from sun to rain, trained",
                "AB or BA, and A is sun, B is rain. Images",
                "Domain A, sun: 7",
                "7 images of sun",
            ],
        ),
    ],
)
def test_a_description_is_valid_markdown(names: dict[str, str], ways: str, expected: list[str]) -> None:
    card = {"input_nc": 3, "output_nc": 3, "program": "p", "run": "r", "nimg": 40}
    card["data"] = [{"name": d, "samples": 7, "digest": 64 * "a"} for d in "AB"]
    card["initialised_from"] = {"source": "models:/h/1", "parts": ["G_AB", "D_A"], "sha256": {}}
    card["segments"] = [{"nimg": 20, "changed": {"optim.lr": [2e-4, 1e-4]}}]
    facts = {"directions": ("AB", "BA"), "card": card, "values": {"A": None, "B": DEEP}.get, "domain_names": names}
    snapshot = SimpleNamespace(method="cyclegan", described=lambda: ways, **facts)
    figures = {"kd/untrained_AB": Figure.mean([0.5, 0.6]), "fd/untrained_BA": Figure(2.0)}
    facts = {"images": {"A": 7, "B": 10}, "source": "data"}
    evaluation = SimpleNamespace(
        names=names, facts=facts, figures=figures, findings=[SimpleNamespace(text="found")] * 2
    )
    html = (
        MarkdownIt("commonmark")
        .enable("table")
        .render(describe("horses", snapshot, evaluation, "it is better", with_state=True))
    )  # pyright: ignore
    assert html.count("<table>") == 1 and html.count("<tr>") == 3
    assert "<p>Passed the gate of promotion because: it is better.</p>" in html
    assert html.count("<h2>") == 2 and html.count("<li>") == 6
    assert "<p>Initialised from models:/h/1: G_AB, D_A.</p>" in html
    assert "Extended from 20 images on: optim.lr: 0.0002 -&gt; 0.0001." in html and "The training state comes" in html
    assert "Images of any size: 3 channels, 8 bits in A, and\n3, uint16 of 0 (black) to 4095 (white) in B." in html
    assert "|" not in html and all(text in html.replace("\n", " ") for text in expected)
