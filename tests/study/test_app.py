"""The application with participants, impatient, forgetful and curious ones among them."""

import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.study.answers import ANSWERS, Answers, session_id
from cyclegan_dist.study.report import make_report
from tests.study.studies import Participant, Server, make_study


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "study"
    with Server(folder, make_study(folder)) as server:
        yield server


@pytest.fixture
def participant(server: Server) -> Participant:
    """One who has agreed."""
    participant = Participant(server.app)
    assert participant.ask("/session", "POST")[1]["next"] == 1
    return participant


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    database = sqlite3.connect(folder / ANSWERS)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def test_a_simulated_population_is_recovered(tmp_path: Path) -> None:
    rates, rng = {"good": 0.35, "bad": 0.1}, random.Random(0)
    tokens = tuple(f"token{i}" for i in range(24))
    folder = tmp_path / "study"
    with Server(folder, make_study(folder, names=("good", "bad"), scored=20), tokens) as server:
        for token in tokens:
            participant = Participant(server.app, token)
            participant.ask("/session", "POST")
            ((name,),) = rows(folder, f"SELECT algorithm FROM session WHERE id = '{session_id(token)}'")
            participant.play(server, rates[str(name)], rng)
            assert participant.ask("/session")[1]["next"] == 0
        found = make_report(server.study, folder)
    assert [row.participants for row in found] == [12, 12]
    for row in found:
        assert row.trials == 240 and not sum(row.excluded_trials.values())
        assert row.low < rates[row.algorithm] < row.high
        assert row.high - row.low < 0.2
    assert found[1].high < found[0].low


def test_neither_files_nor_answers_show_which_image_is_real(server: Server, participant: Participant) -> None:
    headers = []
    for side in ("left", "right"):
        status, found, body = participant.request(f"/trials/1/{side}")
        assert status == 200 and int(found["content-length"]) == len(body)
        headers.append(found)
    assert headers[0] == headers[1]
    assert set(headers[0]) & {"etag", "last-modified", "content-disposition"} == set()
    page, state = participant.request("/")[2].decode(), str(participant.ask("/session"))
    assert not any(word in page + state for word in ("real0", "fake-", "one-", "real_side"))
    participant.ask("/trials/1/start", "POST")
    assert set(participant.answer(1, "left")[1]) == {"correct"}


def test_feedback_in_practice_only(server: Server, participant: Participant) -> None:
    for number in (1, 2, 3):
        real = participant.real_side(number)
        participant.ask(f"/trials/{number}/start", "POST")
        assert participant.answer(number, "left") == (200, {"correct": real == "left" if number < 3 else None})


def test_a_double_submission_changes_nothing(server: Server, participant: Participant) -> None:
    participant.ask("/trials/1/start", "POST")
    first = participant.answer(1, "left", response_ms=300)
    before = rows(server.folder, "SELECT * FROM trial")
    assert participant.answer(1, "left", response_ms=900) == first
    status, answer = participant.answer(1, "right")
    assert (status, answer["error"]) == (409, "trial 1 has been answered already")
    assert rows(server.folder, "SELECT * FROM trial") == before


def test_images_are_shown_once_also_after_a_reload(server: Server, participant: Participant) -> None:
    assert participant.ask("/session")[1]["started"] is False
    assert participant.request("/trials/1/left")[0] == 200
    assert participant.ask("/trials/1/start", "POST")[1] == {"show": True}
    assert participant.ask("/session")[1] | {"next": 1, "started": True} == participant.ask("/session")[1]
    assert participant.ask("/trials/1/left")[0] == 409
    assert participant.ask("/trials/1/start", "POST")[1] == {"show": False}
    assert participant.answer(1, "left", exposure_ms=None)[0] == 200
    assert participant.ask("/session")[1]["next"] == 2


def test_trials_come_in_order(server: Server, participant: Participant) -> None:
    for number in (0, 2, 7, 10**30):
        for path in ("left", "start"):
            status, _ = participant.ask(f"/trials/{number}/{path}", "GET" if path == "left" else "POST")
            assert status in (404, 409)
        assert participant.answer(number, "left")[0] in (404, 409)
    assert participant.answer(1, "left")[1]["error"] == "trial 1 has not started"
    assert participant.ask("/trials/1/middle")[0] == 404


def test_a_link_is_used_once(server: Server) -> None:
    participant = Participant(server.app)
    participant.play(server, 0.5, random.Random(0))
    before = rows(server.folder, "SELECT * FROM trial")
    assert participant.ask("/session", "POST")[1]["next"] == 0
    assert participant.ask("/trials/1/start", "POST")[0] == 409
    for number in range(1, 7):
        for choice in ("left", "right"):
            assert participant.answer(number, choice)[0] in (200, 409)
    assert rows(server.folder, "SELECT * FROM trial") == before


def test_links_that_are_not_valid_or_have_expired(server: Server) -> None:
    for token in ("", "other", "token ", "token' OR 1=1 --"):
        stranger = Participant(server.app, token)
        for path, method in (("/session", "GET"), ("/session", "POST"), ("/trials/1/left", "GET")):
            status, answer = stranger.ask(path, method)
            assert status == 403 and "ask whoever invited you" in answer["error"]
    participant = Participant(server.app)
    assert participant.ask("/trials/1/left") == (409, {"error": "the participant has not agreed yet"})
    server.clock.now = 2001
    assert participant.ask("/session")[0] == participant.ask("/session", "POST")[0] == 410
    assert rows(server.folder, "SELECT count(*) FROM trial") == [(0,)]


@pytest.mark.parametrize(
    "values",
    [
        {"choice": "both"},
        {"exposure_ms": "nan"},
        {"exposure_ms": -1},
        {"exposure_ms": "1e300"},
        {"response_ms": "soon"},
        {"response_ms": None},
    ],
)
def test_values_that_make_no_sense_are_refused(
    server: Server, participant: Participant, values: dict[str, object]
) -> None:
    participant.ask("/trials/1/start", "POST")
    status, answer = participant.answer(1, str(values.pop("choice", "left")), **values)
    assert status == 422 and "give" in answer["error"]
    assert participant.ask("/session")[1]["next"] == 1


@pytest.mark.parametrize("headers", [{"Content-Length": "3"}, {"Transfer-Encoding": "chunked"}])
def test_bodies_are_refused_unread(participant: Participant, headers: dict[str, str]) -> None:
    status, answered, _ = participant.request("/trials/1/start", "POST", headers)
    assert (status, answered["connection"]) == (413, "close")
    assert participant.ask("/trials/1/start", "POST", {"Content-Length": "0"}) == (200, {"show": True})


def test_other_sites_are_refused_and_links_in_mails_are_not(server: Server) -> None:
    participant = Participant(server.app)
    assert participant.request("/", headers={"sec-fetch-site": "cross-site"})[0] == 200
    assert participant.request("/session", headers={"sec-fetch-site": "cross-site"})[0] == 403
    assert participant.request("/session", "POST", {"origin": "https://attacker.example"})[0] == 403
    assert participant.request("/", headers={"host": "attacker.example"})[0] == 421
    assert participant.ask("/elsewhere")[0] == 404
    assert participant.ask("/health") == (200, {"status": "ok"})


def test_the_page_loads_nothing_from_elsewhere(server: Server) -> None:
    status, headers, body = Participant(server.app).request("/")
    assert status == 200 and b"Be careful." in body
    assert b"http" not in body.replace(b"http-equiv", b"")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


def test_sessions_at_once_are_balanced_and_complete(tmp_path: Path) -> None:
    folder, tokens = tmp_path / "study", tuple(f"token{i}" for i in range(9))
    with Server(folder, make_study(folder, names=("a", "b", "c")), tokens) as server:
        errors: list[BaseException] = []

        def play(token: str) -> None:
            try:
                Participant(server.app, token).play(server, 0.5, random.Random(token))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=play, args=(token,)) for token in tokens]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
    began = Counter(name for (name,) in rows(folder, "SELECT algorithm FROM session WHERE algorithm NOT NULL"))
    assert began == {"a": 3, "b": 3, "c": 3}
    assert rows(folder, "SELECT count(*) FROM trial WHERE choice NOT NULL") == [(54,)]


def test_the_database_holds_nothing_personal(server: Server) -> None:
    participant = Participant(server.app)
    participant.play(server, 0.5, random.Random(0))
    columns = {
        name for table in ("session", "trial") for _, name, *_ in rows(server.folder, f"PRAGMA table_info({table})")
    }
    assert columns == {
        *("id", "expires", "algorithm", "consent", "session", "number", "practice", "real", "fake", "real_side"),
        *("started", "choice", "exposure_ms", "response_ms", "server_ms", "hidden"),
    }
    assert rows(server.folder, "SELECT count(*) FROM trial WHERE started NOT NULL") == [(0,)]
    content = b"".join(path.read_bytes() for path in server.folder.glob(f"{ANSWERS}*"))
    assert b"token" not in content.replace(b"the token", b"") and b"127.0.0.1" not in content


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ANSWERS).write_text("no database" * 100)
    with pytest.raises(UsageError, match="cannot be used"):
        Answers(tmp_path)
