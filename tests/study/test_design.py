import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.study.design import STUDY, Protocol, draw_pairs, open_study
from cyclegan_dist.study.links import consent_text
from tests.study.studies import make_study


@pytest.mark.parametrize("paired", [False, True])
def test_a_session_draws_no_image_twice_and_both_sides_equally_often(tmp_path: Path, paired: bool) -> None:
    study = make_study(tmp_path / "study", paired=paired)
    rng, sides = random.Random(0), Counter[str]()
    for _ in range(400):
        pairs = draw_pairs(study, study.algorithms[0], rng)
        assert len(pairs) == 6
        assert len({pair.real for pair in pairs}) == len({pair.fake for pair in pairs}) == 6
        if paired:
            assert all(pair.real.removeprefix("real") == pair.fake.removeprefix("fake-one-") for pair in pairs)
        sides.update(pair.real_side for pair in pairs)
    assert abs(sides["left"] - 1200) < 4 * (2400 / 4) ** 0.5


def test_a_study_is_read_as_it_was_written(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", names=("one", "two"))
    assert open_study(tmp_path / "study") == study


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 2}, "has not format 1"),
        ({"size": 0}, "size"),
        ({"algorithms": []}, "names no algorithm"),
        ({"reals": ["../../etc/passwd"]}, "a file outside images"),
        ({"reals": ["absent.png"]}, "images/absent.png is missing"),
        ({"protocol": {"scored": 0}}, "scored"),
    ],
)
def test_a_damaged_study_is_one_line(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    make_study(tmp_path / "study")
    path = tmp_path / "study" / STUDY
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match=sentence) as error:
        open_study(tmp_path / "study")
    assert "\n" not in str(error.value)


def test_a_folder_without_a_study_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"study\.json is missing; make one with"):
        open_study(tmp_path)
    (tmp_path / STUDY).write_text("[")
    with pytest.raises(UsageError, match="cannot be read"):
        open_study(tmp_path)


@pytest.mark.parametrize(("scored", "said"), [(40, "about 10 minutes"), (1, "about 1 minute.")])
def test_participants_are_told_how_long_it_takes(scored: int, said: str) -> None:
    assert said in consent_text(Protocol(practice=10 if scored == 40 else 1, scored=scored))
