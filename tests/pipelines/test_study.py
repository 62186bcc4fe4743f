"""The command, as users run it."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from cyclegan_dist.study.answers import Answers
from cyclegan_dist.study.design import STUDY
from pipelines.study import main
from tests.conftest import Answer
from tests.service.running import make_snapshot
from tests.study.studies import Participant, Server, make_study

SMALL = ("--practice", "1", "--scored", "3", "--size", "24", "--no-serve")


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the URL that it announces."""
    words = [sys.executable, "-m", "pipelines.study", str(folder), "--port", "0", *options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line, process.communicate()
        yield process, line.split(" at ")[1].split(",")[0]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_killed_server_loses_no_answer(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    make_study(folder)

    def ask(url: str, path: str, method: str = "GET") -> requests.Response:
        link = (folder / "links.txt").read_text().split()[0]
        token = link.removeprefix(f"{url}#")
        return requests.request(method, f"{url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=20)

    with served(folder, "--participants", "2") as (process, url):
        ask(url, "session", "POST")
        for number in (1, 2):
            assert ask(url, f"trials/{number}/left").status_code == 200
            assert ask(url, f"trials/{number}/start", "POST").json() == {"show": True}
            assert ask(url, f"trials/{number}/answer?choice=left&exposure_ms=1000&response_ms=1", "POST").ok
        assert ask(url, "trials/3/start", "POST").json() == {"show": True}
        process.send_signal(signal.SIGKILL)
        process.wait()
    with served(folder, "--participants", "3") as (process, url):
        state = ask(url, "session").json()
        assert (state["next"], state["started"]) == (3, True)
        assert ask(url, "trials/3/left").status_code == 409
        again = [sys.executable, "-m", "pipelines.study", str(folder), "--port", "0"]
        other = subprocess.run(again, capture_output=True, text=True, timeout=60)
        assert (other.returncode, other.stderr.count("\n")) == (2, 1)
        assert "another server has the study" in other.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    links = (folder / "links.txt").read_text().split()
    assert len(set(links)) == len(links) == 3
    assert os.stat(folder / "links.txt").st_mode & 0o077 == 0


def test_a_study_is_made_and_reported(command: Callable[..., Answer], tmp_path: Path, dataset: Path) -> None:
    snapshot, folder = make_snapshot(tmp_path / "tiny"), tmp_path / "study"
    code, out, err = command(main, snapshot, "--data", dataset, "--out", folder, *SMALL)
    assert (code, err) == (0, "") and "tiny on 10 real images of domain B" in out
    links = (folder / "links.txt").read_text().split()
    assert len(links) == 25 and all(link.startswith("http://127.0.0.1:8000/#") for link in links)
    assert "25 links for http://127.0.0.1:8000/ in" in out and "serve it with" in out
    code, out, _ = command(main, "report", folder)
    assert code == 0 and "no sessions" not in out and "left out of" not in out
    assert json.loads((folder / STUDY).read_text())["algorithms"][0]["name"] == "tiny"
    assert "4 pairs: 1 for practice" in (folder / "consent.txt").read_text()
    code, _, err = command(main, snapshot, "--data", dataset, "--out", folder, *SMALL)
    assert code == 2 and "study is not empty: serve the study in it with" in err

    played = tmp_path / "played"
    tokens = tuple(f"token{i}" for i in range(8))
    with Server(played, make_study(played), tokens) as server:
        for token in tokens:
            Participant(server.app, token).play(server, 0.5, random.Random(token))
    code, out, _ = command(main, "report", played)
    assert code == 0 and "95 % interval" in out and "32" in out and f"report: {played / 'report.json'}" in out
    assert "left out of one: 0 trials: the page was in the background" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give the runs or models to compare"),
        (["nowhere", "--data", "data"], "nowhere is neither a snapshot nor a run"),
        (["nowhere"], "--data is missing"),
        (["tiny", "tiny", "--data", "data"], "tiny is given twice"),
        (["tiny", "--data", "data", "--scored", "0"], "the options of the study: scored"),
        (["tiny", "--data", "data", "--tolerance-ms", "nan"], "the options of the study: tolerance_ms"),
        (["tiny", "--data", "data", "--size", "-1"], "--size and --count must not be below 0"),
        (["tiny", "--data", "nothing"], "no data set at nothing"),
        (["half", "--data", "DATASET", "--direction", "BA"], "direction BA: snapshot"),
        (["tiny", "--data", "DATASET", "--size", "24"], "a session shows 50 different images of domain A"),
        (["report"], "report takes one folder"),
        (["report", "tiny"], "tiny is no study"),
        (["report", "made"], "made has no answers yet"),
        (["made", "tiny"], "made is a study: give it alone"),
        (["made", "--participants", "0"], "--participants must be 1 or more"),
        (["made", "--url", "example.org"], "--url example.org: give an address"),
        (["made", "--port", "70000"], "cannot listen on 127.0.0.1, port 70000"),
    ],
)
def test_bad_input_is_one_line(
    command: Callable[..., Answer], tmp_path: Path, dataset: Path, arguments: list[str], sentence: str
) -> None:
    make_snapshot(tmp_path / "tiny")
    make_snapshot(tmp_path / "half", directions="AB")
    make_study(tmp_path / "made")
    code, _, err = command(main, *(str(dataset) if word == "DATASET" else word for word in arguments))
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: ") and sentence in err


def test_consent_that_was_emptied_and_a_damaged_database_are_one_line(
    command: Callable[..., Answer], tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    make_study(folder)
    (folder / "consent.txt").write_text(" \n")
    code, _, err = command(main, folder, "--port", "0")
    assert code == 2 and "consent.txt is empty: write the text" in err
    (folder / "consent.txt").write_text("Yes.")
    (folder / "answers.sqlite").write_text("no database" * 100)
    code, _, err = command(main, folder, "--port", "0")
    assert code == 2 and "answers.sqlite cannot be used" in err and err.count("\n") == 1


def test_links_have_the_given_address_and_are_only_added(tmp_path: Path) -> None:
    from cyclegan_dist.study.links import make_links

    make_study(tmp_path / "made")
    answers = Answers(tmp_path / "made")
    first = make_links(tmp_path / "made", answers, "https://study.example.org/", 2, 1e12)
    second = make_links(tmp_path / "made", answers, "http://127.0.0.1:1", 3, 1e12)
    assert make_links(tmp_path / "made", answers, "http://127.0.0.1:1", 1, 1e12) == second
    answers.close()
    assert all(link.startswith("https://study.example.org/#") and len(link) > 45 for link in first)
    assert [link.split("#")[1] for link in second[:2]] == [link.split("#")[1] for link in first]
