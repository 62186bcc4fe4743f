"""Values of tables as text."""

import math
from typing import Any

import pytest

from cyclegan_dist.paper import formats
from cyclegan_dist.paper.page import Picture


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([0.7, 0.037, 0.0093], 3),
        ([0.037, 0.0093], 4),
        ([35.2, 9.1], 1),
        ([123.4], 0),
        ([0.0, math.nan], 3),
        ([1e-9], 6),
    ],
)
def test_a_column_has_three_digits_of_its_largest_value(values: list[float], places: int) -> None:
    assert formats.decimals(values) == places


def test_figures_of_the_paper_have_the_digits_that_it_printed() -> None:
    places = formats.printed_decimals([0.4, 0.52, 0.1])
    assert [formats.number(value, places) for value in (0.4, 0.1, None)] == ["0.40", "0.10", "-"]
    assert formats.printed_decimals([26.8, 3.0, 0.5]) == 1


def test_runs_and_outcomes_are_counted() -> None:
    def row(*numbers: int) -> dict[str, Any]:
        return {"cells": {str(i): {"last": {"n": n}, "paper": 0.1} for i, n in enumerate(numbers)}}

    assert [formats.runs_of(row(*n)) for n in ((), (1,), (3, 3), (2, 3, 1))] == [
        "no runs",
        "1 run",
        "3 runs",
        "1 to 3 runs",
    ]
    checks = [{"last": {"outcome": outcome}} for outcome in ("undecided", "held", "held")]
    assert formats.outcomes(checks, "last") == "2 held, 1 undecided"


def test_the_protocol_is_text() -> None:
    rows = formats.protocol_rows(
        {
            "smoke": True,
            "seeds": [0, 1],
            "left_out": {"CUT": "no pairs"},
            "data": {
                "train": {"source": "d", "max_samples": 0, "images_of_an_epoch": 24},
                "val": {"source": "d/val", "samples": {"A": 8, "B": 9}, "digests": {"A": "a" * 64, "B": "b" * 64}},
            },
        }
    )
    assert rows == {
        "seeds": ["0, 1"],
        "left out": ["CUT: no pairs"],
        "data": [
            "training: d, all images, 24 an epoch",
            "validation: d/val, 8 images of A (digest aaaaaaaaaaaa) and 9 images of B (digest bbbbbbbbbbbb)",
        ],
    }


@pytest.mark.parametrize(("width", "is_small", "zoom"), [(16, True, 6), (32, True, 3), (128, True, 1), (256, False, 1)])
def test_small_pictures_are_enlarged_by_integers(width: int, is_small: bool, zoom: int) -> None:
    picture = Picture("data:", width)
    assert (picture.is_small, picture.zoom) == (is_small, zoom)
