"""The answers of a study in SQLite: one row for each trial, written to disk before the participant sees the next.

No names, addresses or kinds of browsers are stored, and no times of day of what has been answered. A session is
identified by the hash of its link's token, so that the database alone does not show who answered.
"""

import hashlib
import random
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cyclegan_dist.errors import UsageError
from cyclegan_dist.study.design import Pair, Side, Study, draw_pairs

ANSWERS = "answers.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS session (
    id TEXT PRIMARY KEY,     -- sha256 of the token
    expires REAL NOT NULL,   -- seconds since 1970
    algorithm TEXT,          -- assigned when the participant agrees
    consent TEXT             -- sha256 of the text that was agreed to
);
CREATE TABLE IF NOT EXISTS trial (
    session TEXT NOT NULL REFERENCES session,
    number INTEGER NOT NULL, -- from 1 on
    practice INTEGER NOT NULL,
    real TEXT NOT NULL,
    fake TEXT NOT NULL,
    real_side TEXT NOT NULL,
    started REAL,            -- seconds since 1970; removed when the trial is answered
    choice TEXT,             -- side that was called real
    exposure_ms REAL,        -- measured by the page; null if it was reloaded meanwhile
    response_ms REAL,        -- from the end of the exposure
    server_ms REAL,          -- from the start to the answer, measured by the server
    hidden INTEGER,          -- whether the page was in the background during the exposure
    PRIMARY KEY (session, number)
);
"""


class AnswerError(Exception):
    """A request that does not fit the state of its session: the trial is over, or not reached yet."""


@dataclass(frozen=True)
class Progress:
    """State of a session.

    Attributes:
        expires: seconds since 1970.
        begun: whether the participant has agreed.
        next: number of the first trial without an answer; 0 if all are answered, or none have been drawn yet.
        started: whether the images of that trial have been shown already.
    """

    expires: float
    begun: bool
    next: int
    started: bool


@dataclass(frozen=True)
class Answer:
    """What the page reports of a trial; times in milliseconds."""

    choice: Side
    exposure_ms: float | None
    response_ms: float
    hidden: bool


def session_id(token: str) -> str:
    """The id of the session that a link's token belongs to."""
    return hashlib.sha256(token.encode()).hexdigest()


class Answers:
    """The database of one study, shared by the threads of a server.

    Args:
        folder: of the study.

    Raises:
        UsageError: if the file is no such database, or cannot be written.
    """

    def __init__(self, folder: Path):
        self._path = folder / ANSWERS
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")  # an answer survives a power cut, not only a kill
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise UsageError(f"{self._path} cannot be used: {error}") from error

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def add(self, tokens: Sequence[str], expires: float) -> None:
        """Add sessions that have not begun."""
        with self._transaction() as database:
            rows = [(session_id(token), expires) for token in tokens]
            database.executemany("INSERT INTO session (id, expires) VALUES (?, ?)", rows)

    def sessions(self) -> int:
        """Number of sessions, begun or not."""
        with self._transaction() as database:
            return database.execute("SELECT count(*) FROM session").fetchone()[0]

    def progress(self, session: str) -> Progress | None:
        """State of a session; None if there is none of that id."""
        with self._transaction() as database:
            row = database.execute("SELECT expires, algorithm FROM session WHERE id = ?", (session,)).fetchone()
            if row is None:
                return None
            sought = "SELECT number, started FROM trial WHERE session = ? AND choice IS NULL ORDER BY number LIMIT 1"
            number, started = database.execute(sought, (session,)).fetchone() or (0, None)
        return Progress(row[0], row[1] is not None, number, started is not None)

    def begin(self, session: str, study: Study, consent: str, rng: random.Random) -> None:
        """Assign an algorithm and draw the trials, unless that has been done.

        The algorithm is drawn among those of which the fewest sessions have begun, so that these numbers never differ
        by more than one.

        Args:
            session: its id.
            study: the design.
            consent: the text that the participant has agreed to.
            rng: for the draws.
        """
        with self._transaction() as database:
            if database.execute("SELECT algorithm FROM session WHERE id = ?", (session,)).fetchone() != (None,):
                return
            begun = dict(database.execute("SELECT algorithm, count(*) FROM session GROUP BY algorithm"))
            fewest = min(begun.get(algorithm.name, 0) for algorithm in study.algorithms)
            algorithm = rng.choice([a for a in study.algorithms if begun.get(a.name, 0) == fewest])
            agreed = hashlib.sha256(consent.encode()).hexdigest()
            database.execute(
                "UPDATE session SET algorithm = ?, consent = ? WHERE id = ?", (algorithm.name, agreed, session)
            )
            database.executemany(
                "INSERT INTO trial (session, number, practice, real, fake, real_side) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (session, number, number <= study.protocol.practice, pair.real, pair.fake, pair.real_side)
                    for number, pair in enumerate(draw_pairs(study, algorithm, rng), 1)
                ],
            )

    def pair(self, session: str, number: int) -> Pair:
        """What a trial shows, which may be asked until it has started.

        Raises:
            AnswerError: if it is not the next one, or its images have been shown.
        """
        with self._transaction() as database:
            row = self._next(database, session, number)
        if row["started"] is not None:
            raise AnswerError("the images of this trial have been shown already")
        return Pair(row["real"], row["fake"], row["real_side"])

    def start(self, session: str, number: int, now: float) -> bool:
        """Note that a trial's images are about to be shown. Returns False if they have been before.

        Raises:
            AnswerError: if it is not the next trial.
        """
        with self._transaction() as database:
            if self._next(database, session, number)["started"] is not None:
                return False
            change = "UPDATE trial SET started = ? WHERE session = ? AND number = ?"
            database.execute(change, (now, session, number))
            return True

    def answer(self, session: str, number: int, answer: Answer, now: float) -> bool | None:
        """Store the answer to a trial, once. The same choice again changes nothing.

        Returns:
            Of a practice trial whether the choice was correct; None of a scored one.

        Raises:
            AnswerError: if the trial has not started, or another choice is stored.
        """
        with self._transaction() as database:
            row = self._row(database, session, number)
            if row["choice"] is None:
                if self._next(database, session, number)["started"] is None:
                    raise AnswerError(f"trial {number} has not started")
                database.execute(
                    "UPDATE trial SET started = NULL, choice = ?, exposure_ms = ?, response_ms = ?, server_ms = ?, "
                    "hidden = ? WHERE session = ? AND number = ?",
                    (
                        answer.choice,
                        answer.exposure_ms,
                        answer.response_ms,
                        1000 * (now - row["started"]),
                        answer.hidden,
                        session,
                        number,
                    ),
                )
            elif row["choice"] != answer.choice:
                raise AnswerError(f"trial {number} has been answered already")
        return answer.choice == row["real_side"] if row["practice"] else None

    def _next(self, database: sqlite3.Connection, session: str, number: int) -> sqlite3.Row:
        """The row of a trial. Raises AnswerError if it is not the first one without an answer."""
        row = self._row(database, session, number)
        earlier = "SELECT count(*) FROM trial WHERE session = ? AND choice IS NULL AND number < ?"
        if row["choice"] is not None or database.execute(earlier, (session, number)).fetchone()[0]:
            raise AnswerError(f"trial {number} is not the next one")
        return row

    def _row(self, database: sqlite3.Connection, session: str, number: int) -> sqlite3.Row:
        number = min(number, 2**63 - 1)  # the largest integer of SQLite
        with closing(database.cursor()) as cursor:
            cursor.row_factory = sqlite3.Row
            row = cursor.execute("SELECT * FROM trial WHERE session = ? AND number = ?", (session, number)).fetchone()
        if row is None:
            raise AnswerError(f"there is no trial {number}")
        return row

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
