"""The report of a study: how often each algorithm's translations were taken for real, and what was excluded why."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.figures import Share, student_t
from cyclegan_dist.storage.files import write_atomic
from cyclegan_dist.study.answers import ANSWERS
from cyclegan_dist.study.design import Protocol, Study

REPORT = "report.json"
LEAST_PARTICIPANTS = 8  # for an interval: of fewer, the bootstrap's holds the true share in 50 to 93 % of studies
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Trial:
    """A scored trial that has been answered; times in milliseconds.

    Attributes:
        fooled: whether the translation was called real.
        choice: side.
        exposure_ms: measured by the page; None if it was reloaded during the trial.
        server_ms: from start to answer, measured by the server.
        hidden: whether the page was in the background during the exposure.
    """

    fooled: bool
    choice: str
    exposure_ms: float | None
    server_ms: float
    hidden: bool


@dataclass(frozen=True)
class Row:
    """One algorithm's figures; rates from 0 to 1.

    Attributes:
        algorithm: its name.
        participants: that count.
        trials: of these that count.
        fooled: share of these trials in which the translation was called real.
        error: standard deviation of `fooled` over the bootstrap resamples.
        low: lower end of the 95 % confidence interval; NaN with fewer than `LEAST_PARTICIPANTS`.
        high: upper end.
        excluded_participants: number by rule.
        excluded_trials: number by rule, of participants that count.
        not_finished: sessions that have begun and are not complete: under way, or abandoned.
    """

    algorithm: str
    participants: int
    trials: int
    fooled: float
    error: float
    low: float
    high: float
    excluded_participants: dict[str, int]
    excluded_trials: dict[str, int]
    not_finished: int


def trial_rules(protocol: Protocol) -> dict[str, Callable[[Trial], bool]]:
    """By name, when a scored trial is left out. Each trial is counted by the first rule that applies."""
    exposure, tolerance = protocol.exposure_ms, protocol.tolerance_ms
    return {
        "the page was reloaded after the images had been shown, so their exposure is not known": (
            lambda trial: trial.exposure_ms is None
        ),
        "the page was in the background during the exposure": lambda trial: trial.hidden,
        f"the measured exposure differs from {exposure:g} ms by more than {tolerance:g} ms": (
            lambda trial: abs((trial.exposure_ms or 0) - exposure) > tolerance
        ),
        "the answer reached the server sooner than the exposure allows": (
            lambda trial: trial.server_ms < exposure - tolerance
        ),
    }


def participant_rules(protocol: Protocol) -> dict[str, Callable[[Sequence[Trial], Sequence[Trial]], bool]]:
    """By name, when a participant with a complete session is left out, given all scored trials and those that count."""
    least = protocol.least_share
    return {
        f"fewer than {100 * least:g} % of the scored trials count": (
            lambda trials, kept: len(kept) < least * len(trials)
        ),
        "the same side was chosen in all scored trials": (
            lambda trials, kept: len(trials) > 9 and len({trial.choice for trial in trials}) == 1
        ),
    }


def bootstrap(
    fooled: Sequence[int], trials: Sequence[int], seed: int = 0, resamples: int = _RESAMPLES
) -> tuple[float, float, float]:
    """Standard error and 95 % confidence interval of the share of fooled trials, by resampling participants.

    The percentiles are those of the expanded percentile interval (Hesterberg 2015, "What teachers should know about the
    bootstrap", The American Statistician 69), because the plain ones are too narrow with few participants. Where all
    participants have the same rate, resampling finds no spread: Wilson's interval over the trials is returned then.

    Args:
        fooled: trials of each participant in which the translation was called real.
        trials: trials of each participant.
        seed: of the resampling.
        resamples: their number.

    Returns:
        Standard deviation over resamples, lower and upper end of the interval.
    """
    k, n = np.asarray(fooled), np.asarray(trials)
    if len(np.unique(k / n)) < 2:
        return 0.0, *Share.mean([1.0] * int(k.sum()) + [0.0] * int((n - k).sum())).interval
    members = len(k)
    drawn = np.random.default_rng(seed).multinomial(members, [1 / members] * members, size=resamples)
    rates = (drawn @ k) / (drawn @ n)
    tail = NormalDist().cdf(-student_t(members - 1) * (members / (members - 1)) ** 0.5)
    low, high = np.quantile(rates, [tail, 1 - tail])
    return float(rates.std()), float(low), float(high)


def make_report(study: Study, folder: Path) -> list[Row]:
    """The figures of each algorithm, from the answers so far, which a running server may be adding to.

    Raises:
        UsageError: if there are no answers, or the database cannot be read.
    """
    sessions = _read(folder)
    return [_row(name, found, study.protocol) for name, found in _by_algorithm(study, sessions).items()]


def _row(name: str, sessions: Sequence[Sequence[Trial]], protocol: Protocol) -> Row:
    complete = [trials for trials in sessions if len(trials) == protocol.scored]
    of_trials, of_participants = trial_rules(protocol), participant_rules(protocol)
    excluded: Counter[str] = Counter(dict.fromkeys(of_participants, 0))
    left_out: Counter[str] = Counter(dict.fromkeys(of_trials, 0))
    counted: list[list[Trial]] = []
    for trials in complete:
        reasons = [next((rule for rule, applies in of_trials.items() if applies(trial)), "") for trial in trials]
        kept = [trial for trial, reason in zip(trials, reasons, strict=True) if not reason]
        if rule := next((rule for rule, applies in of_participants.items() if applies(trials, kept)), ""):
            excluded[rule] += 1
            continue
        left_out.update(filter(None, reasons))
        counted.append(kept)
    fooled = [sum(trial.fooled for trial in kept) for kept in counted]
    numbers = [len(kept) for kept in counted]
    error, low, high = bootstrap(fooled, numbers) if len(counted) >= LEAST_PARTICIPANTS else (float("nan"),) * 3
    return Row(
        algorithm=name,
        participants=len(counted),
        trials=sum(numbers),
        fooled=sum(fooled) / sum(numbers) if counted else float("nan"),
        error=error,
        low=low,
        high=high,
        excluded_participants=dict(excluded),
        excluded_trials=dict(left_out),
        not_finished=len(sessions) - len(complete),
    )


def _by_algorithm(study: Study, sessions: Sequence[tuple[str, list[Trial]]]) -> dict[str, list[list[Trial]]]:
    return {a.name: [trials for name, trials in sessions if name == a.name] for a in study.algorithms}


def _read(folder: Path) -> list[tuple[str, list[Trial]]]:
    """Algorithm and answered scored trials of each session that has begun."""
    path = folder / ANSWERS
    if not path.exists():
        raise UsageError(f"{folder} has no answers yet: serve the study first")
    query = (
        "SELECT session.id, algorithm, choice, real_side, exposure_ms, server_ms, hidden FROM session LEFT JOIN trial "
        "ON session.id = trial.session AND NOT practice AND choice IS NOT NULL WHERE algorithm IS NOT NULL "
        "ORDER BY session.id, number"
    )
    found: dict[str, tuple[str, list[Trial]]] = {}
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            for session, algorithm, choice, real_side, exposure_ms, server_ms, hidden in database.execute(query):
                trials = found.setdefault(session, (algorithm, []))[1]
                if choice is not None:
                    trials.append(Trial(choice != real_side, choice, exposure_ms, server_ms, bool(hidden)))
    except sqlite3.Error as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    return list(found.values())


def write_report(study: Study, rows: Sequence[Row], folder: Path) -> Path:
    """Write `report.json` into the study's folder, and return its path. Figures that do not exist are null.

    Raises:
        OSError: if it cannot be written.
    """
    tree = {
        "data": study.data,
        "direction": study.direction,
        "protocol": asdict(study.protocol),
        "snapshots": {algorithm.name: algorithm.digest for algorithm in study.algorithms},
        "algorithms": [{k: None if v != v else v for k, v in asdict(row).items()} for row in rows],
    }
    path = folder / REPORT
    write_atomic(path, json.dumps(tree, indent=1) + "\n")
    return path
