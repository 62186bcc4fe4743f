import re
from pathlib import Path

import pytest

from cyclegan_dist.data.domain_names import (
    check_names,
    chosen_direction,
    direction_label,
    picture_labels,
    read_direction,
    read_names,
    refuse_exchanged,
    refuse_no_direction,
)
from cyclegan_dist.data.manifest import MANIFEST, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError

NAMES = {"A": "Late summer", "B": "winter_2"}
JULY = {"A": "july", "B": "january"}


def test_names_are_two_short_plain_labels() -> None:
    assert check_names(["Late summer", "winter_2"]) == NAMES
    assert check_names(("", "")) == {} == check_names(())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["summer"], "give two names"),
        (["summer", ""], "give two names"),
        (["summer", "winter", "autumn"], "give two names"),
        (["summer", "x" * 31], "at most 30"),
        (["summer", "Frühling"], "at most 30 letters from A to Z"),
        (["summer", "<b>"], "at most 30"),
        (["summer", "a/b"], "at most 30"),
        (["summer", "two  spaces"], "at most 30"),
        (["summer", "winter\n"], "at most 30"),
        (["Late summer", "late-summer"], "both names are the same"),
        (["B", "A"], "mean directions"),
        (["summer", "atob"], "mean directions"),
        (["summer", "photo to map"], "mean directions"),
    ],
)
def test_other_names_are_refused_in_one_line(names: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        check_names(names)
    assert str(error.value).isascii() and "\n" not in str(error.value)


@pytest.mark.parametrize("tree", [{"A": "summer"}, {"A": "summer", "B": 3}, ["a1", "b1"], "x", {"A": "<b>", "B": "c"}])
def test_a_file_with_other_names_is_damaged(tree: object) -> None:
    with pytest.raises(ValueError, match="domain_names"):
        read_names(tree)


def test_directions_are_said_and_read_by_names() -> None:
    assert direction_label("BA", NAMES) == "winter_2 to Late summer" and direction_label("BA", {}) == "B to A"
    for text in ("BA", "winter_2 to Late summer", "winter-2-to-late-summer"):
        assert read_direction(text, NAMES) == "BA"
        refuse_no_direction(text)
    assert read_direction("winter-to-summer", {}) == "winter-to-summer"
    for text, names in (("up", NAMES), ("ab", {}), ("summer-to-winter", {})):
        with pytest.raises(UsageError, match=f"--direction {text}: give AB"):
            chosen_direction(text, names)
    with pytest.raises(UsageError, match="--direction up: give AB or BA"):
        refuse_no_direction("up")
    assert picture_labels("AB", {}) == {}
    assert [*picture_labels("BA", JULY).values()] == ["january", "january to july", "back to january", "july"]


def test_exchanged_domains_are_refused_and_others_said() -> None:
    for found in ({"A": "Winter-2", "B": "late summer"}, {"A": "winter_2", "B": "autumn"}):
        with pytest.raises(UsageError, match=r"^data: domain A is .inter.2, which is domain B of run: the domains are"):
            refuse_exchanged("data", found, "run", NAMES)
    assert refuse_exchanged("data", {"A": "LATE-SUMMER", "B": "winter 2"}, "run", NAMES) == ""
    assert refuse_exchanged("data", {}, "run", NAMES) == refuse_exchanged("data", NAMES, "run", {}) == ""
    said = "data has other domains than run: A is july, B is january; there A is Late summer, B is winter_2"
    assert refuse_exchanged("data", JULY, "run", NAMES) == said


def test_they_are_in_the_manifests_of_all_parts_and_change_nothing_else(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for out, names in (("plain", ("", "")), ("named", ("summer", "winter"))):
        prepare(PrepareConfig(*folders, tmp_path / out, names=names, validation=4, max_bad_fraction=1, workers=1))
    plain, other = (open_manifest(str(tmp_path / out)) for out in ("plain", "named"))
    assert plain.domain_names == {} and b"domain_names" not in (tmp_path / "plain" / MANIFEST).read_bytes()
    assert open_manifest(str(tmp_path / "named" / "val")).domain_names == other.domain_names
    assert other.domain_names == {"A": "summer", "B": "winter"}
    assert other.selected("BtoA").domain_names == {"A": "winter", "B": "summer"}
    assert other.selected("AtoB", 2).domain_names == other.domain_names
    assert [other.domain_digest(d) for d in "AB"] == [plain.domain_digest(d) for d in "AB"]
    tars = [(tmp_path / out / "A" / "A-000000.tar").read_bytes() for out in ("plain", "named")]
    assert tars[0] == tars[1]
