"""Images as half blocks."""

import io
from pathlib import Path

from PIL import Image
from rich.console import Console

from cyclegan_dist.tracking.preview import UPPER_HALF, preview


def test_two_pixels_are_one_character(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 4), (255, 0, 0))
    image.putpixel((1, 1), (0, 0, 255))
    image.save(tmp_path / "a.png")
    text = preview(tmp_path / "a.png", 80, 40)
    assert text.plain == f"{UPPER_HALF * 2}\n" * 2
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="truecolor", width=80).print(text)
    assert "\x1b[38;2;255;0;0;48;2;0;0;255m" in out.getvalue()


def test_large_images_fit_into_columns_and_lines(tmp_path: Path) -> None:
    Image.new("RGB", (600, 300)).save(tmp_path / "a.png")
    for columns, lines in ((60, 40), (600, 10)):
        rows = preview(tmp_path / "a.png", columns, lines).plain.splitlines()
        assert len(rows) <= lines and max(map(len, rows)) <= columns
        assert abs(len(rows[0]) / (2 * len(rows)) - 2) < 0.2
