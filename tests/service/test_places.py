"""Places, deadlines and the end of the service, over HTTP."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from starlette.types import Message, Receive, Scope, Send

from cyclegan_dist.data.encode import encode_image
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.service.app import make_app
from cyclegan_dist.service.messages import Answerer, Refusal, ServedModel, Translation, TranslationRequest
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.places import InPlace, Places
from cyclegan_dist.service.server import address, answering, listen
from tests.faults.serving_process import UPLOAD, half_sent, status_from
from tests.service.running import LIMITS, picture, post, running


def answer_after(seconds: float, began: Callable[[], object] = lambda: None) -> Answerer:
    async def answer(request: TranslationRequest) -> Translation | Refusal:
        began()
        await asyncio.sleep(seconds)
        return Translation(image=encode_image(torch.zeros(3, 4, 4, dtype=torch.uint8), "black"))

    return answer


def test_idle_uploads_of_one_client_leave_places_for_others(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyclegan_dist.service.requests.IDLE_SECONDS", 1.5)
    limits = replace(LIMITS, max_requests_per_client=2)
    with running(snapshot, limits) as url, half_sent(url, UPLOAD.format(1000), 10) as clients:
        time.sleep(0.3)
        refused = post(f"{url}translate", data=picture())
        assert refused.status_code == 503 and "of your address" in refused.json()["error"]
        assert status_from("127.0.0.2", url, picture()) == 200
        answers = [client.recv(1 << 16).split()[1] for client in clients]
        assert sorted(answers) == [b"408"] * 2 + [b"503"] * 8
        assert post(f"{url}translate", data=picture()).status_code == 200


def test_a_slow_upload_is_cut_off_and_a_steady_one_is_not(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyclegan_dist.service.requests.IDLE_SECONDS", 0.5)
    monkeypatch.setattr("cyclegan_dist.service.requests.READ_RATE", 1000)
    data = picture(60, 60)
    with running(snapshot) as url, half_sent(url, UPLOAD.format(len(data)), 2) as (slow, steady):
        for start in range(0, len(data), len(data) // 6):
            with contextlib.suppress(BrokenPipeError):
                slow.sendall(b"x")
            steady.sendall(data[start : start + len(data) // 6])
            time.sleep(0.15)
        assert slow.recv(1 << 16).split()[1] == b"408"
        assert steady.recv(1 << 16).split()[1] == b"200"


def test_no_answer_within_the_deadline_is_a_503(snapshot: Path) -> None:
    limits = replace(LIMITS, deadline_s=0.3)
    with running(snapshot, limits, answer_after(20)) as url:
        answer = post(f"{url}translate", data=picture())
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
    assert "within 0.3 seconds" in answer.json()["error"]


@pytest.mark.parametrize(("seconds", "status"), [(1.0, 200), (20.0, 503)])
def test_a_stop_answers_what_is_in_flight(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, status: int
) -> None:
    monkeypatch.setattr("cyclegan_dist.service.places.STOP_SECONDS", 2)
    started = threading.Semaphore(0)
    model = ServedModel(name="tiny", snapshot=Snapshot.open(snapshot))
    listener = listen("127.0.0.1", 0)
    app = make_app("tiny", lambda: model, LIMITS, AllowedHosts.of(listener), answer_after(seconds, started.release))
    with ThreadPoolExecutor(4) as pool:
        with answering(app, listener):
            waiting = [pool.submit(post, f"{address(listener)}translate", data=picture()) for _ in range(4)]
            for _ in range(4):
                assert started.acquire(timeout=20)
            began = time.monotonic()
        assert time.monotonic() - began < 10
        answers = [one.result() for one in waiting]
    assert [answer.status_code for answer in answers] == [status] * 4
    assert status == 200 or {answer.headers["Retry-After"] for answer in answers} == {"10"}


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 131_072, 200_000])
def test_answers_are_sent_in_parts_while_the_place_is_held(size: int) -> None:
    body, places = bytes(range(256)) * (size // 256) + bytes(size % 256), Places(LIMITS)
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        with pytest.raises(Refusal), places.place("a"), places.place("b"), places.place("c"), places.place("d"):
            pass

    asyncio.run(InPlace(app, places)({"type": "http", "client": ("a", 1)}, receive, send))
    parts = sent[1:]
    assert b"".join(part["body"] for part in parts) == body
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    assert all(len(part["body"]) <= 65_536 for part in parts)
