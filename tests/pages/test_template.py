import importlib.resources
import re

import jinja2
import pytest

from cyclegan_dist.pages.template import page_template

PAGES = ("evaluation/gallery.html", "service/page.html")
LIBRARY = importlib.resources.files("cyclegan_dist")


def test_a_template_includes_what_pages_share_as_it_is() -> None:
    text = page_template("pages/style.css").render()
    assert text == LIBRARY.joinpath("pages/style.css").read_text().rstrip("\n") and "{{" not in text
    with pytest.raises(jinja2.TemplateNotFound):
        page_template("pages/missing.html")


@pytest.mark.parametrize("page", PAGES)
def test_colours_are_defined_for_light_and_dark(page: str) -> None:
    style = LIBRARY.joinpath("pages/style.css").read_text()
    light, dark = (
        set(re.findall(r"(--[a-z-]+): #", part)) for part in style.split("@media (prefers-color-scheme: dark)")
    )
    own = LIBRARY.joinpath(page.replace(".html", ".css")).read_text()
    assert light == dark
    assert set(re.findall(r"var\((--[a-z-]+)\)", style + own)) <= light | {"--at", "--ratio", "--height"}
    assert not re.findall(r"#[0-9a-f]{3,8}\b(?!.*;\s*--)", own.replace("background: #000", ""))  # none of its own


def test_text_has_enough_contrast_in_both_schemes() -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    style = LIBRARY.joinpath("pages/style.css").read_text()
    for part in style.split("@media (prefers-color-scheme: dark)"):
        colours = dict(re.findall(r"--([a-z-]+): #([0-9a-f]+)", part))
        for ink, grounds in INKS.items():
            for ground in grounds:
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


INKS = {
    "text": ("page", "card", "wash", "note"),
    "soft": ("page", "card", "wash"),
    "accent": ("page", "card", "wash"),
    "on-accent": ("accent",),
    "bad": ("page",),
}


def contrast(one: str, two: str) -> float:
    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    values = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
