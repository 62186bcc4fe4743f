"""An image on a terminal: two pixels for each character, one above the other."""

from pathlib import Path

from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

UPPER_HALF = "\N{UPPER HALF BLOCK}"


def preview(path: Path, columns: int, lines: int) -> Text:
    """An image file in its proportions, at most `columns` x `lines` characters, and no larger than its pixels.

    Raises:
        OSError: if it cannot be read.
    """
    with Image.open(path) as file:
        image = file.convert("RGB")
    scale = min(1.0, columns / image.width, 2 * lines / image.height)
    width, height = max(1, round(image.width * scale)), max(2, int(image.height * scale) // 2 * 2)
    pixels = image.resize((width, height), Image.Resampling.LANCZOS).tobytes()
    colours = [Color.from_rgb(*pixels[i : i + 3]) for i in range(0, len(pixels), 3)]
    text = Text(no_wrap=True, end="")
    for top in range(0, width * height, 2 * width):
        for upper, lower in zip(colours[top : top + width], colours[top + width : top + 2 * width], strict=True):
            text.append(UPPER_HALF, Style(color=upper, bgcolor=lower))
        text.append("\n")
    return text
