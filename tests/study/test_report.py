import dataclasses
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.study.answers import ANSWERS
from cyclegan_dist.study.design import Protocol
from cyclegan_dist.study.report import Trial, bootstrap, make_report, participant_rules, trial_rules, write_report
from tests.study.studies import Participant, Server, make_study

GOOD = Trial(fooled=False, choice="left", exposure_ms=1001, server_ms=1400, hidden=False)


@pytest.mark.parametrize(("participants", "rate", "like_mindedness"), [(25, 0.27, 20), (25, 0.03, 40), (10, 0.27, 20)])
def test_intervals_hold_the_true_share_in_95_percent_of_studies(
    participants: int, rate: float, like_mindedness: float
) -> None:
    """Participants differ: their rates have a beta distribution."""
    rng, held, studies = np.random.default_rng(0), 0, 400
    for study in range(studies):
        rates = rng.beta(rate * like_mindedness, (1 - rate) * like_mindedness, size=participants)
        _, low, high = bootstrap(rng.binomial(40, rates).tolist(), [40] * participants, study, resamples=500)
        held += low <= rate <= high
    assert 0.91 <= held / studies <= 0.98


def test_the_error_is_that_of_the_mean_over_participants() -> None:
    fooled = [2, 9, 14, 7, 11, 5, 20, 3, 8, 12]
    error, low, high = bootstrap(fooled, [40] * 10)
    assert error == pytest.approx(np.std(np.array(fooled) / 40) / 10**0.5, rel=0.03)
    assert low < sum(fooled) / 400 < high
    assert bootstrap(fooled, [40] * 10) == (error, low, high)


def test_equal_participants_have_an_interval_that_is_no_point() -> None:
    error, low, high = bootstrap([0] * 10, [40] * 10)
    assert (error, low) == (0, 0) and 0.001 < high < 0.02


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, None),
        ({"exposure_ms": None}, 0),
        ({"hidden": True}, 1),
        ({"exposure_ms": 1051.0}, 2),
        ({"exposure_ms": 949.0}, 2),
        ({"exposure_ms": 0.0}, 2),
        ({"server_ms": 940.0}, 3),
    ],
)
def test_each_rule_for_trials(change: dict[str, object], rule: int | None) -> None:
    trial = dataclasses.replace(GOOD, **change)  # pyright: ignore[reportArgumentType]
    found = [number for number, applies in enumerate(trial_rules(Protocol()).values()) if applies(trial)]
    assert (found or [None])[0] == rule


@pytest.mark.parametrize(
    ("choices", "kept", "expected"),
    [("lr" * 20, 40, [False, False]), ("lr" * 20, 35, [True, False]), ("l" * 40, 40, [False, True])],
)
def test_each_rule_for_participants(choices: str, kept: int, expected: Sequence[bool]) -> None:
    trials = [dataclasses.replace(GOOD, choice=choice) for choice in choices]
    rules = participant_rules(Protocol()).values()
    assert [applies(trials, trials[:kept]) for applies in rules] == expected


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    folder, tokens = tmp_path / "study", tuple(f"token{i}" for i in range(6))
    with Server(folder, make_study(folder, scored=20), tokens) as server:
        for token in tokens[:4]:
            Participant(server.app, token).play(server, 0.3, random.Random(token))
        Participant(server.app, tokens[4]).ask("/session", "POST")  # and leaves
        change = sqlite3.connect(folder / ANSWERS)
        one, two, *_ = change.execute("SELECT DISTINCT session FROM trial WHERE choice NOT NULL").fetchall()
        change.execute("UPDATE trial SET exposure_ms = 900 WHERE session = ? AND number IN (1, 5)", one)
        change.execute("UPDATE trial SET exposure_ms = NULL WHERE session = ? AND number = 6", one)
        change.execute("UPDATE trial SET hidden = 1 WHERE session = ? AND number > 8", two)
        change.commit()
        change.close()
        (row,) = make_report(server.study, folder)
        assert (row.participants, row.trials, row.not_finished) == (3, 3 * 20 - 2, 1)
        assert list(row.excluded_trials.values()) == [1, 0, 1, 0]
        assert list(row.excluded_participants.values()) == [1, 0]
        assert "NaN" not in write_report(server.study, [row], folder).read_text()


def test_few_participants_have_no_interval(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with Server(folder, make_study(folder, names=("one", "two"))) as server:
        Participant(server.app).play(server, 0.3, random.Random(0))
        rows = make_report(server.study, folder)
    assert sorted(row.participants for row in rows) == [0, 1]
    assert all(row.low != row.low for row in rows)
    assert '"low": null' in write_report(server.study, rows, folder).read_text()


def test_a_study_without_answers_is_one_line(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    with pytest.raises(UsageError, match="no answers yet"):
        make_report(study, tmp_path / "study")
    (tmp_path / "study" / ANSWERS).write_text("no database" * 100)
    with pytest.raises(UsageError, match="cannot be read"):
        make_report(study, tmp_path / "study")
