"""Classes of label maps and their colours."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from cyclegan_dist.errors import UsageError

Colour = tuple[int, int, int]
NEAR = 8.0  # Euclidean distance in grey levels that JPEG moves flat regions of label maps by at most
# Share of a map's pixels that must be near a colour. Of the facades' maps, JPEGs whose borders are all mixed, each has
# more than 0.28; of their photos, with the palette of Cityscapes, whose dark greys are often near, at most 0.17.
LEAST_NEAR = 0.2
FLAT = (
    0.05  # share of a map's pixels of exactly one colour that must be a colour of the palette; in JPEGs few are equal
)
_SAMPLED = 1 << 16  # pixels of a map whose colours are counted


@dataclass(frozen=True, kw_only=True)
class Palette:
    """The classes of label maps.

    Attributes:
        domain: which domain of the data set holds the maps.
        classes: the colour of each, red, green, blue in 0 to 255; a class's number is its place.
        ignored: colours of labels that no score counts.
    """

    domain: Literal["A", "B"]
    classes: dict[str, Colour]
    ignored: dict[str, Colour] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise UsageError("a palette needs at least two classes")
        names: dict[tuple[int, ...], str] = {}
        for name, colour in [*self.classes.items(), *self.ignored.items()]:
            if not all(0 <= level <= 255 for level in colour):
                raise UsageError(f"palette: {name} has the colour {list(colour)}: give levels from 0 to 255")
            if names.setdefault(tuple(colour), name) != name or (name in self.classes and name in self.ignored):
                raise UsageError(f"palette: {names[tuple(colour)]} and {name} have one colour: change one")

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        colours = {"classes": self.classes, "ignored": self.ignored}
        return {"domain": self.domain, **{k: {n: list(c) for n, c in one.items()} for k, one in colours.items()}}

    def labels(self, maps: Tensor) -> Tensor:
        """The label of each pixel of true maps, that of the nearest colour: n x H x W int64 of n x C x H x W uint8.
        Classes are numbered from 0; labels from `len(classes)` on are ignored ones.
        """
        return _nearest(maps, self._colours())[0]

    def found(self, maps: Tensor) -> Tensor:
        """The class of each pixel of generated maps: as `labels`, but never an ignored label."""
        return _nearest(maps, self._colours()[: len(self.classes)])[0]

    def snapped(self, image: Tensor) -> Tensor:
        """A label map, C x H x W uint8, with the nearest of the palette's colours in each pixel: 3 x H x W."""
        return self._colours()[self.labels(image[None])[0]].to(torch.uint8).permute(2, 0, 1)

    def refuse_other_colours(self, maps: Tensor, source: str) -> None:
        """Refuse images that are no label maps of this palette.

        Args:
            maps: n x C x H x W uint8.
            source: names them in the message.

        Raises:
            UsageError: if few pixels are near one of the colours, or many have exactly the same other one.
        """
        for image in maps.expand(-1, 3, -1, -1):
            pixels = image.flatten(1)[:, :: max(1, image[0].numel() // _SAMPLED)].T
            colours, counts = pixels.unique(dim=0, return_counts=True)
            flat = colours[counts >= max(2, FLAT * len(pixels))]
            other = flat[_nearest_of(flat.double(), self._colours())[1] > NEAR**2]
            if len(other):
                found = other[0].tolist()
                raise UsageError(
                    f"{source} is no label map of this palette: {found} is the colour of a whole region and none of "
                    "the palette's; give the palette of these maps, correct its domain, or add the colour to classes "
                    "or ignored"
                )
        near = float((_nearest(maps, self._colours())[1] <= NEAR**2).double().mean())
        if near < LEAST_NEAR:
            raise UsageError(
                f"{source} is no label map of this palette: only {100 * near:.0f} % of its pixels are near one of the "
                "colours; give the palette of these maps, or correct its domain"
            )

    def _colours(self) -> Tensor:
        """All labels x 3."""
        return torch.tensor([*self.classes.values(), *self.ignored.values()], dtype=torch.float64)


def _nearest(maps: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the nearest colour of each pixel, the first of equally near ones, and its squared distance: both
    n x H x W. All products are whole numbers, so nothing is rounded.
    """
    pixels = maps.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).reshape(-1, 3)
    found = [_nearest_of(some.double(), colours) for some in pixels.split(1 << 18)]
    return tuple(torch.cat(parts).view(len(maps), *maps.shape[2:]) for parts in zip(*found, strict=True))  # pyright: ignore[reportReturnType]


def _nearest_of(pixels: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    distances = pixels.square().sum(1, keepdim=True) - 2 * pixels @ colours.T + colours.square().sum(1)
    least, index = distances.min(1)
    return index, least
