"""Captions in pictures: a line of text above a row of images, for people who look at the file alone."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_SIZE = 12  # pixels of the font
_PAD = 4  # pixels around the text


def captioned(row: Tensor, text: str) -> Tensor:
    """A picture with a line of dark text on white above it; wider if the text is.

    Args:
        row: 3 x H x W, uint8, or float in [0, 1].
        text: one line of ASCII.

    Returns:
        3 x H' x W' of the same type.
    """
    font = ImageFont.load_default(_SIZE)
    width = max(row.shape[2], round(font.getlength(text)) + 2 * _PAD)
    strip = Image.new("L", (width, _SIZE + 2 * _PAD), 255)
    ImageDraw.Draw(strip).text((_PAD, _PAD - 1), text, fill=32, font=font)
    white = 1.0 if row.is_floating_point() else 255
    line = torch.from_numpy(np.array(strip)).expand(3, -1, -1)
    line = line.to(row.dtype) / 255 if row.is_floating_point() else line
    return torch.cat([line, F.pad(row, (0, width - row.shape[2]), value=white)], dim=1)
