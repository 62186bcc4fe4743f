"""What is trained: a drawn data set, its seeds, and what is expected of it."""

from dataclasses import dataclass

from tests.limitations import drawing
from tests.limitations.drawing import Draw


@dataclass(frozen=True)
class Case:
    """One limitation, or its opposite.

    Attributes:
        title: what changes from domain A to domain B.
        draw: the scenes.
        seeds: of data and networks.
        identity: `method.lambda_identity`; 0 for label maps.
    """

    title: str
    draw: Draw
    seeds: tuple[int, ...]
    identity: float = 0.5


CASES = {
    "colour": Case("colour", drawing.colour, (0, 1)),
    "texture": Case("texture", drawing.texture, (0, 1)),
    "squares": Case("discs to squares of the same area", drawing.squares, (0, 1)),
    "large": Case("small discs to ones of twice the radius", drawing.large, (0, 1)),
    "turned": Case("upright bars to lying ones", drawing.turned, (0, 1)),
    "classes": Case("photos to label maps, two classes alike", drawing.classes, (0, 1, 2, 3), identity=0.0),
}
SHAPES = ("squares", "large", "turned")
RIDER = "rider"  # measured on the networks of `texture`
EPOCHS = 6
