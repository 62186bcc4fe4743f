from pathlib import Path

import pytest

from cyclegan_dist.config.palettes import open_palette
from cyclegan_dist.errors import UsageError


def test_shipped_palettes_are_found_by_name() -> None:
    cityscapes, streets = open_palette("cityscapes"), open_palette("streets")
    assert (len(cityscapes.classes), len(cityscapes.ignored), len(streets.classes)) == (19, 10, 8)
    assert list(cityscapes.classes)[:3] == ["road", "sidewalk", "building"]  # train ids 0, 1, 2
    assert cityscapes.classes["car"] == (0, 0, 142) and cityscapes.domain == streets.domain == "B"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "domain: C\nclasses: {road: [1, 2, 3], sky: [1, 2, 4]}\n",
            "domain: must be 'A' or 'B': a palette has",
        ),
        ("domain: A\nclasses: {road: [1, 2], sky: [1, 2, 4]}\n", "a palette has domain: A or B"),
        ("domain: A\nclass: {road: [1, 2, 3]}\n", "unknown key class, did you mean classes"),
        ("domain: A\nclasses: {road: [1, 2, 3]}\n", "at least two classes"),
        ("- road\n", "must be a YAML mapping"),
    ],
)
def test_a_palette_is_read_or_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "palette.yaml"
    file.write_text("domain: A\nclasses:\n  road: [1, 2, 3]\n  sky: [4, 5, 6]\n")
    assert open_palette(str(file)).classes == {"road": (1, 2, 3), "sky": (4, 5, 6)}
    file.write_text(text)
    with pytest.raises(UsageError, match=message) as refusal:
        open_palette(str(file))
    assert "\n" not in str(refusal.value)


def test_a_missing_palette_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean streets"):
        open_palette("street")
    with pytest.raises(UsageError, match=r"cannot read .*none\.yaml"):
        open_palette(str(tmp_path / "none.yaml"))
