import pytest
import torch

from cyclegan_dist.data.palette import Palette
from cyclegan_dist.errors import UsageError

PALETTE = Palette(
    domain="B",
    classes={"road": (128, 64, 128), "sky": (70, 130, 180), "tree": (107, 142, 35)},
    ignored={"unlabelled": (0, 0, 0)},
)


def maps(*pixels: tuple[int, int, int]) -> torch.Tensor:
    """A map of one row."""
    return torch.tensor(pixels, dtype=torch.uint8).T.reshape(1, 3, 1, -1)


def test_a_pixel_has_the_label_of_the_nearest_colour() -> None:
    assert PALETTE.labels(maps((120, 70, 130), (70, 130, 180), (100, 150, 20), (9, 9, 9))).tolist() == [[[0, 1, 2, 3]]]


def test_generated_maps_have_no_ignored_labels() -> None:
    assert PALETTE.found(maps((0, 0, 0), (70, 130, 180))).tolist() == [[[2, 1]]]  # |tree| = 181 < |road| = 192


def test_the_first_of_two_equally_near_colours_counts() -> None:
    palette = Palette(domain="A", classes={"dark": (0, 0, 0), "bright": (2, 2, 2)})
    grey = torch.ones(1, 1, 2, 2, dtype=torch.uint8)
    assert palette.labels(grey).tolist() == [[[0, 0], [0, 0]]]


def test_snapped_maps_have_exact_colours() -> None:
    image = maps((130, 60, 125), (8, 0, 3))[0]
    assert PALETTE.snapped(image).flatten(1).T.tolist() == [[128, 64, 128], [0, 0, 0]]


def test_images_of_other_colours_are_refused() -> None:
    noise = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UsageError, match=r"^photo is no label map of this palette: only 0 % of its pixels"):
        PALETTE.refuse_other_colours(noise, "photo")
    PALETTE.refuse_other_colours(maps((125, 66, 130), (0, 4, 5)), "map")


def test_a_region_of_another_colour_is_refused() -> None:
    """A map of another palette that shares some colours would be scored as if it were right."""
    with pytest.raises(
        UsageError, match=r"map is no label map of this palette: \[90, 90, 90\] is the colour of a whole"
    ):
        PALETTE.refuse_other_colours(maps((125, 66, 130), (0, 4, 5), *2 * [(90, 90, 90)]), "map")


@pytest.mark.parametrize(
    ("classes", "ignored", "message"),
    [
        ({"road": (1, 2, 3)}, {}, "at least two classes"),
        ({"road": (1, 2, 3), "sky": (1, 2, 3)}, {}, "road and sky have one colour"),
        ({"road": (1, 2, 3), "sky": (1, 2, 4)}, {"rest": (1, 2, 4)}, "sky and rest have one colour"),
        ({"road": (1, 2, 3), "sky": (1, 2, 256)}, {}, "sky has the colour"),
    ],
)
def test_palettes_whose_classes_cannot_be_told_apart_are_refused(classes, ignored, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Palette(domain="B", classes=classes, ignored=ignored)
