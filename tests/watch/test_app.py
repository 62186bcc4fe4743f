"""What the application answers: all runs, the changes of one, grids, and nothing else."""

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.storage.checked import write_checked
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.journal import append
from cyclegan_dist.watch import kept, records
from cyclegan_dist.watch.app import make_app
from tests.study.studies import HOSTS, Participant
from tests.watch.runs import losses, make_run


@pytest.fixture
def client(tmp_path: Path) -> Participant:
    """Of a folder with a run that is training no more, and one that has finished."""
    make_run(tmp_path / "runs" / "done", end="FINISHED")
    make_run(tmp_path / "runs" / "sweep" / "trial 1")
    return Participant(make_app(tmp_path / "runs", HOSTS))


def state(client: Participant, run: str = "", offset: int = 0) -> dict[str, Any]:
    status, answer = client.ask(f"/state?run={run}&offset={offset}")
    assert status == 200
    return answer


def test_the_newest_run_is_shown_first_with_all_that_it_has(client: Participant) -> None:
    answer = state(client)
    assert [run["state"] for run in answer["runs"]] == ["killed", "finished"] and "path" not in answer["runs"][0]
    assert answer["run"] == "sweep/trial 1" and answer["grids"] == [4, 8] and not answer["more"]
    assert [nimg for nimg, _ in answer["points"]] == [4, 8, 12]
    assert answer["points"][1][1]["loss/G_AB"] == 1 / 8
    texts = [text for _, text in answer["lines"]]
    assert texts[0].startswith("started ") and texts[1].startswith("step 1 epoch 0.20 images 4/100")
    assert texts[-1] == "look at <b>this</b>"


def test_only_what_is_new_is_sent_again(client: Participant, tmp_path: Path) -> None:
    before = state(client, "done")
    assert state(client, "done", before["offset"])["points"] == []
    append(tmp_path / "runs" / "done", "evaluation", step=1, nimg=4, values={"kd/x_AB": math.nan, "kd/x_BA": 0.5})
    answer = state(client, "done", before["offset"])
    assert answer["points"] == [[4, {"kd/x_AB": None, "kd/x_BA": 0.5}]] and answer["from"] == before["offset"]
    assert [text for _, text in answer["lines"]] == ["evaluation after 4 images | kd/x_AB nan kd/x_BA 0.5"]
    make_run(tmp_path / "new")
    (tmp_path / "new" / "metrics.jsonl").replace(tmp_path / "runs" / "done" / "metrics.jsonl")  # a shorter journal
    assert state(client, "done", answer["offset"])["from"] == 0


def test_a_long_journal_comes_in_parts(client: Participant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_RECORDS", 4)
    found, offset, more = [], 0, True
    while more:
        answer = state(client, "done", offset)
        found += answer["points"]
        offset, more = answer["offset"], answer["more"]
    assert [nimg for nimg, _ in found] == [4, 8, 12]


def test_a_running_run_is_told_by_its_lock(client: Participant, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "done"
    append(run, "run", config={}, data=[], nimg=0, total=100)
    append(run, "metrics", step=9, nimg=36, values=losses(36))
    with lock(RunFolder(run).lock):
        found = state(client, "done")["runs"]
    assert {(one["name"], one["state"], one["left"]) for one in found} >= {("done", "running", "30 min")}


def test_runs_that_have_ended_are_read_again_when_they_change(
    client: Participant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    overview = kept.overview
    monkeypatch.setattr(kept, "overview", lambda name, path: read.append(name) or overview(name, path))
    for _ in range(3):
        state(client)
    assert sorted(read) == ["done", "sweep/trial 1"]
    best = {"snapshot": "snapshots/nimg-4", "figure": "kd/x", "value": 0.5}
    write_checked(RunFolder(tmp_path / "runs" / "done").best, best)
    assert any(run["best"] == ["kd/x", 0.5] for run in state(client)["runs"])
    with lock(RunFolder(tmp_path / "runs" / "done").lock):
        state(client)
    assert sorted(read) == ["done"] * 3 + ["sweep/trial 1"]


def test_a_grid_is_that_of_a_run_and_no_other_file(client: Participant, tmp_path: Path) -> None:
    status, headers, body = client.request("/grid?run=done&nimg=8")
    assert (status, headers["content-type"]) == (200, "image/png")
    assert body == (tmp_path / "runs" / "done" / "samples" / "nimg-000000008.png").read_bytes()
    for query in ("run=done&nimg=99", "run=other&nimg=8", "run=../runs/done&nimg=8", "run=/etc&nimg=0", "nimg=8"):
        assert client.ask(f"/grid?{query}")[0] == 404, query
    for nimg in ("-1", "..", "9" * 30, "1.5", "٣"):
        status, answer = client.ask(f"/grid?run=done&nimg={nimg}".encode().decode("latin-1"))
        assert (status, answer) == (422, {"error": "nimg: give a number, 0 or more"})


def test_the_page_loads_nothing_from_elsewhere_and_other_sites_are_refused(client: Participant) -> None:
    status, headers, body = client.request("/")
    assert status == 200 and b"http" not in body.replace(b"http://www.w3.org/2000/svg", b"")
    assert "default-src 'none'" in headers["content-security-policy"]
    nonce = headers["content-security-policy"].partition("'nonce-")[2].partition("'")[0]
    assert body.count(f'nonce="{nonce}"'.encode()) == 2
    assert client.request("/state", headers={"sec-fetch-site": "cross-site"})[0] == 403
    assert client.request("/state", headers={"host": "attacker.example"})[0] == 421
    assert client.request("/state", "POST")[0] == 405
    assert client.request("/state", headers={"content-length": "3"})[0] == 413
    assert client.ask("/elsewhere")[1] == {"error": "no such page: there are /, /state and /grid"}


def test_a_folder_without_runs_or_that_cannot_be_read(tmp_path: Path) -> None:
    client = Participant(make_app(tmp_path / "runs", HOSTS))
    status, answer = client.ask("/state")
    assert status == 503 and answer["error"].endswith("runs cannot be read: No such file or directory")
    (tmp_path / "runs").mkdir()
    assert state(client) == {"runs": []}
    (tmp_path / "runs" / "bad" / "metrics.jsonl").mkdir(parents=True)
    answer = state(client)
    assert answer["run"] == "bad" and answer["runs"][0]["state"] == "unreadable" and "points" not in answer


def test_fifty_runs_are_answered_quickly(tmp_path: Path) -> None:
    journal = RunFolder(make_run(tmp_path / "runs" / "run-0", points=1, grids=0, end="FINISHED")).journal
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], *1500 * lines[1:2], *lines[2:]]))
    for number in range(1, 50):
        other = RunFolder(tmp_path / "runs" / f"run-{number}").journal
        other.parent.mkdir()
        other.hardlink_to(journal)
    client = Participant(make_app(tmp_path / "runs", AllowedHosts(frozenset({"localhost"}))))
    answer = state(client)
    started = time.process_time()
    for _ in range(5):
        json.dumps(state(client, answer["run"], answer["offset"]))
    assert time.process_time() - started < 0.5
