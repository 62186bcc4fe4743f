"""The value range of a domain whose images have more than 8 bits: which values are black and white.

Everywhere between files, an image is C x H x W (or a batch of them) of one of two kinds: uint8, or float32 in [-1, 1].
A domain whose images all have 8 bits has no value range, and its images are uint8. Loads torch only where images are
converted, because a launcher opens manifests too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cyclegan_dist.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = ("uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class ValueRange:
    """How the values of a domain's images are read and written.

    Attributes:
        dtype: of its files' values, one of `DTYPES`.
        black: the value that becomes -1.
        white: the value that becomes 1.

    Raises:
        ValueError: if it is no such type, or white is not above black.
    """

    dtype: str
    black: float
    white: float

    def __str__(self) -> str:
        return f"{self.dtype} of {self.black:g} (black) to {self.white:g} (white)"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"values of {self.dtype}: there are {', '.join(DTYPES)}")
        if not -np.inf < self.black < self.white < np.inf:
            raise ValueError(f"white {self.white:g} must be above black {self.black:g}")

    @classmethod
    def from_json(cls, facts: Mapping[str, Any] | None) -> Self | None:
        """The range that `dataclasses.asdict` turned into JSON; None of None.

        Raises:
            ValueError, KeyError, TypeError: if it is not one.
        """
        return None if facts is None else cls(str(facts["dtype"]), float(facts["black"]), float(facts["white"]))

    def to_unit(self, pixels: "Tensor") -> "Tensor":
        """Values of a file as float32 in [-1, 1]; those beyond black and white are clipped. uint8 has its own range, 0
        to 255.
        """
        import torch

        if pixels.dtype == torch.uint8:
            return pixels.float().div_(127.5).sub_(1)
        # In double precision, because a range can be narrow and far from zero.
        unit = (pixels.double() - self.black) * (2 / (self.white - self.black)) - 1
        return unit.clamp_(-1, 1).float()

    def from_unit(self, images: "Tensor") -> np.ndarray:
        """Images in [-1, 1] as values of `dtype`, on the CPU; integers are rounded."""
        values = (images.detach().cpu().double().clamp(-1, 1) + 1) * ((self.white - self.black) / 2) + self.black
        array = values.numpy()
        if np.issubdtype(np.dtype(self.dtype), np.integer):
            limits = np.iinfo(self.dtype)
            array = np.clip(np.rint(array), limits.min, limits.max)
        return array.astype(self.dtype)


def refuse_other_values(
    data: str, found: Mapping[str, ValueRange | None], of: str, wanted: Mapping[str, ValueRange | None]
) -> None:
    """Refuse a data set whose values mean something else than those that `of` was trained on.

    Args:
        data: the data set, for the message.
        found: the value range of each of its domains.
        of: what the others belong to, for the message.
        wanted: the value range of each domain there.

    Raises:
        UsageError: naming the first domain that differs, and both ranges.
    """
    for domain, theirs in wanted.items():
        if found[domain] != theirs:
            has, needs = (str(one) if one else "8 bits" for one in (found[domain], theirs))
            raise UsageError(
                f"{data}: domain {domain} has {has}, and that of {of} {needs}: prepare it with the same --black and "
                "--white"
            )
