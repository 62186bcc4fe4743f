"""Flicker of translated frames: how much more they change than the input, where the input shows the same thing twice.

A simplified warping error. Lai et al. (Learning Blind Video Temporal Consistency, ECCV 2018, arXiv 1808.00449, section
4.2) warp each translated frame to the next along the input's optical flow and average the squared difference where the
flow is not occluded. Here, instead of the flow of a network, each pixel either stays or moves with the whole picture
(a camera that pans), whichever explains the input better; pixels of which neither does are left out, as occluded ones
are there. Differences are absolute, in grey levels, and the input's own are reported beside them: what they leave, such
as noise, no translation could avoid.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

UNCHANGED = 4.0  # grey levels: input that differs by no more, averaged over 5 x 5 pixels, counts as unchanged
ENOUGH = 0.02  # share of the pixels that must be unchanged for a pair of frames to count
MOST_PIXELS = 1_000_000  # larger frames are averaged over squares of pixels first
PIXELS_EACH = 250_000  # pairs of larger frames are compared so seldom that a frame costs as much as one of this size
FLICKERS = 2.0  # grey levels above the input's own change, and
FLICKERS_RATIO = 1.5  # times the input's own change: beyond both, people see it
_HALF_LEVEL = 0.5  # rounding to whole grey levels; keeps ratios of nearly unchanged input finite


@dataclass(frozen=True)
class Flicker:
    """How frames change from one to the next in the pixels whose input shows the same thing.

    Attributes:
        pairs: successive frames that were compared.
        unchanged: share of their pixels whose input shows the same thing, from 0 to 1.
        input_change: mean absolute change of the input there, in grey levels.
        translation_change: that of the translation.
    """

    pairs: int
    unchanged: float
    input_change: float
    translation_change: float

    @property
    def excess(self) -> float:
        """By how many grey levels the translation changes more than the input. 0 for a generator that copies."""
        return self.translation_change - self.input_change

    @property
    def ratio(self) -> float:
        """How many times as much the translation changes, with half a grey level, for rounding, added to both. 1 for a
        generator that copies.
        """
        return (self.translation_change + _HALF_LEVEL) / (self.input_change + _HALF_LEVEL)

    @property
    def flickers(self) -> bool:
        """Whether people see it: thresholds as in docs/translating.md."""
        return self.excess > FLICKERS and self.ratio > FLICKERS_RATIO

    def lines(self, name: str) -> list[str]:
        """For people: the figure, and a warning if it flickers."""
        figure = (
            f"{name}: in what successive frames both show ({self.unchanged:.0%}), the input changes by "
            f"{self.input_change:.2f} grey levels and the translation by {self.translation_change:.2f} "
            f"(ratio {self.ratio:.1f})"
        )
        warning = f"{name} flickers: the translation changes by {self.excess:.1f} grey levels more than the input"
        return [figure, warning] if self.flickers else [figure]


class FlickerMeter:
    """Compares each frame with the one before, in the memory of two frames.

    Args:
        enough: share of the pixels that must be unchanged for a pair of frames to count.

    Attributes:
        pairs: of frames that counted so far.
    """

    def __init__(self, enough: float = ENOUGH) -> None:
        self._enough = enough
        self._before: tuple[Tensor, Tensor] | None = None
        self.pairs = self._pixels = self._unchanged = self._since = 0
        self._changes = torch.zeros(2, dtype=torch.float64)

    def add(self, image: Tensor, translation: Tensor) -> None:
        """The next frame, C x H x W, and its translation, C' x H x W: uint8, or float32 in [-1, 1]. A frame of another
        size starts anew.
        """
        every, turn = -(-image[0].numel() // PIXELS_EACH), self._since
        self._since = (turn + 1) % every
        if turn > 1:  # the first two of so many frames are a pair
            return
        now = _smaller(_grey_levels(image)), _smaller(_grey_levels(translation))
        before, self._before = (self._before if turn or every == 1 else None), now
        if before is None or before[0].shape != now[0].shape or before[1].shape != now[1].shape:
            return
        change, source = _explained(before[0], now[0])
        unchanged = change <= UNCHANGED
        if (count := int(unchanged.sum())) < self._enough * unchanged.numel():
            return
        for which in (0, 1):
            moved = torch.stack([(now[which] - _moved(before[which], shift)).abs().mean(0) for shift in source.shifts])
            self._changes[which] += moved.gather(0, source.chosen[None])[0][unchanged].double().sum()
        self.pairs, self._unchanged = self.pairs + 1, self._unchanged + count
        self._pixels += unchanged.numel()

    def restart(self) -> None:
        """The next frame is not compared with the last one."""
        self._before, self._since = None, 0

    def result(self) -> Flicker | None:
        """Of all frames; None if no two of them show the same thing anywhere."""
        if not self.pairs:
            return None
        changes = (self._changes / self._unchanged).tolist()
        return Flicker(self.pairs, self._unchanged / self._pixels, changes[0], changes[1])


@dataclass(frozen=True)
class _Source:
    """Where each pixel comes from: one of `shifts`, rows and columns, by the H x W indices `chosen`."""

    shifts: list[tuple[int, int]]
    chosen: Tensor


def _explained(before: Tensor, now: Tensor) -> tuple[Tensor, _Source]:
    """H x W grey levels, averaged over 5 x 5 pixels, by which `now` differs from `before` at the place that explains it
    best, and these places.
    """
    shifts = list(dict.fromkeys([(0, 0), _pan(before.mean(0), now.mean(0))]))
    changes = []
    for down, right in shifts:
        change = (now - _moved(before, (down, right))).abs().mean(0)
        smooth = F.avg_pool2d(change[None], 5, stride=1, padding=2, count_include_pad=False)[0]
        height, width = smooth.shape
        rows, columns = torch.arange(height)[:, None], torch.arange(width)
        inside = (rows >= down) & (rows < height + down) & (columns >= right) & (columns < width + right)
        changes.append(torch.where(inside, smooth, torch.inf))
    best = torch.stack(changes).min(0)
    return best.values, _Source(shifts, best.indices)


def _pan(before: Tensor, now: Tensor) -> tuple[int, int]:
    """Rows and columns by which the picture as a whole moves, by phase correlation of H x W frames (Kuglin and Hines
    1975); (0, 0) beyond a quarter of a side.
    """
    height, width = now.shape
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)
    first, second = (torch.fft.rfft2((frame - frame.mean()) * window) for frame in (before, now))
    cross = second * first.conj()
    surface = torch.fft.irfft2(cross / (cross.abs() + 1e-6), s=(height, width))
    down, right = divmod(int(surface.argmax()), width)
    down, right = (way - side if way > side // 2 else way for way, side in ((down, height), (right, width)))
    return (down, right) if abs(down) <= height // 4 and abs(right) <= width // 4 else (0, 0)


def _moved(frame: Tensor, shift: tuple[int, int]) -> Tensor:
    return frame if shift == (0, 0) else torch.roll(frame, shift, (1, 2))


def _grey_levels(frame: Tensor) -> Tensor:
    return frame.float() if frame.dtype == torch.uint8 else (frame + 1) * 127.5


def _smaller(frame: Tensor) -> Tensor:
    side = 1
    while frame[0].numel() > MOST_PIXELS * side**2:
        side += 1
    return F.avg_pool2d(frame, side) if side > 1 else frame
