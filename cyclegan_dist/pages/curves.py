"""Curves over the images seen, as a picture for light pages and one for dark pages."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.text import Text

INK = {"light": "#3c3f44", "dark": "#c9cdd2"}  # of text, for pages of both colour schemes
COLOURS = ("#4c8df0", "#e8833a", "#3aa676", "#b46ad8", "#d65a78", "#8a8f98")  # on white and on black

Lines = Mapping[str, Sequence[tuple[float, float]]]
"""By label, the points of a line: images seen, and the value."""


def draw_curves(title: str, lines: Lines, out: Path, name: str, *, from_zero: bool = True) -> dict[str, str]:
    """Draw one panel of curves.

    Args:
        title: above it.
        lines: that it has.
        out: folder of the pictures.
        name: with which the names of their files begin.
        from_zero: whether the axis of values begins at 0.

    Returns:
        The names of the files, by the colour scheme of the page, light or dark.
    """
    figure, axis = plt.subplots(figsize=(4.8, 3.2))
    for (label, points), colour in zip(lines.items(), itertools.cycle(COLOURS)):
        marker = "o" if len(points) == 1 else None  # which would not be seen as a line
        axis.plot(*zip(*points, strict=True), label=label, linewidth=1.2, color=colour, marker=marker)
    axis.set_title(title, fontsize=11, loc="left")
    axis.set_xlabel("images seen", fontsize=9)
    axis.tick_params(labelsize=9, length=0)
    axis.spines[:].set_visible(False)
    axis.grid(axis="y", color="#85898f", alpha=0.3, linewidth=0.8)
    if from_zero:
        axis.set_ylim(bottom=0)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 4, "columnspacing": 1.2}
    axis.legend(fontsize=9, frameon=False, handlelength=1.2, **below)
    files = {scheme: f"{name}-{scheme}.png" for scheme in INK}
    for scheme, file in files.items():
        for text in figure.findobj(Text):
            text.set_color(INK[scheme])
        figure.savefig(out / file, dpi=150, transparent=True, bbox_inches="tight")
    plt.close(figure)
    return files
