"""A second model that answers a share of the requests."""

import asyncio
import base64
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import torch

from cyclegan_dist.data.encode import encode_image
from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.service.app import make_app
from cyclegan_dist.service.canary import Canary
from cyclegan_dist.service.messages import Answerer, Limits, Refusal, ServedModel, Translation, TranslationRequest
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.server import address, answering, listen
from tests.service.running import LIMITS, make_snapshot, picture, post, post_json

GREY = encode_image(torch.full((3, 4, 4), 128, dtype=torch.uint8), "grey")
FIRST, SECOND = "models:/zebra/1", "models:/zebra/2"


async def grey(request: TranslationRequest) -> Translation | Refusal:
    return Translation(image=GREY)


async def refuse(request: TranslationRequest) -> Translation | Refusal:
    return Refusal(503, "too many requests")


async def fail(request: TranslationRequest) -> Translation | Refusal:
    raise ZeroDivisionError


async def hang(request: TranslationRequest) -> Translation | Refusal:
    await asyncio.sleep(60)
    raise AssertionError


@contextmanager
def with_canary(
    snapshot: Path,
    answer: Answerer,
    *,
    first: Answerer = grey,
    share: float = 1.0,
    directions: str = "AB BA",
    **options: Any,
) -> Iterator[tuple[str, list[ServedModel | None]]]:
    """The URL of a service, and what its canary is now."""
    other = make_snapshot(snapshot.parent / f"canary {directions}", directions=directions)
    now: list[ServedModel | None] = [ServedModel(name=SECOND, snapshot=Snapshot.open(other))]
    canary = Canary(model=lambda: now[0], answer=answer, share=share, patience_s=0.3, **options)
    model = ServedModel(name=FIRST, snapshot=Snapshot.open(snapshot))
    listener = listen("127.0.0.1", 0)
    limits = Limits(**{**vars(LIMITS), "deadline_s": 10})
    app = make_app("zebra", lambda: model, limits, AllowedHosts.of(listener), first, canary=canary)
    with answering(app, listener):
        yield address(listener), now


def answered_by(url: str, wish: str = "", direction: str = "AB") -> str:
    answer = post(f"{url}translate?direction={direction}", data=picture(), headers={"X-Canary": wish})
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Model"]


def figures(url: str) -> dict[str, float]:
    lines = requests.get(f"{url}metrics", timeout=10).text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line.startswith("cycle"))}


def test_a_share_of_the_requests_is_answered_by_the_canary(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[TranslationRequest] = []

    async def note(request: TranslationRequest) -> Translation | Refusal:
        asked.append(request)
        return Translation(image=GREY)

    monkeypatch.setattr(random, "random", iter([0.9, 0.1, 0.3, 0.2, 0.1]).__next__)
    with with_canary(snapshot, note, share=0.25) as (url, now):
        assert [answered_by(url) for _ in range(4)] == [FIRST, SECOND, FIRST, SECOND]
        answer = post_json(url, {"image": base64.b64encode(picture()).decode()})
        assert answer.json()["model"] == answer.headers["X-Model"] == SECOND
        assert [answered_by(url, wish) for wish in ("always", "never")] == [SECOND, FIRST]
        assert now[0] and {request.snapshot for request in asked} == {str(now[0].snapshot.folder.resolve())}
        health = requests.get(f"{url}health", timeout=10).json()
        assert health == {"status": "ok", "model": FIRST, "canary": SECOND, "canary_share": 0.25}
        counts = figures(url)
        assert counts[f'cyclegan_requests_total{{model="{SECOND}",status="200"}}'] == 4
        assert counts[f'cyclegan_requests_total{{model="{FIRST}",status="200"}}'] == 3
        assert counts[f'cyclegan_request_seconds_count{{model="{SECOND}"}}'] == 4
        assert f'cyclegan_canary_failures_total{{model="{SECOND}"}}' not in counts


@pytest.mark.parametrize(("answer", "failures"), [(refuse, 3), (fail, 1), (hang, 1)])
def test_where_the_canary_fails_the_first_model_answers(snapshot: Path, answer: Answerer, failures: int) -> None:
    """A failure or a timeout gives the canary a rest: others would wait for it, too."""
    with with_canary(snapshot, answer) as (url, _):
        assert [answered_by(url, "always") for _ in range(3)] == [FIRST] * 3
        counts = figures(url)
        assert counts[f'cyclegan_canary_failures_total{{model="{SECOND}"}}'] == failures
        assert counts[f'cyclegan_requests_total{{model="{FIRST}",status="200"}}'] == 3


def test_a_canary_that_has_rested_is_asked_again(snapshot: Path) -> None:
    failing = [True]

    async def once(request: TranslationRequest) -> Translation | Refusal:
        if failing:
            failing.pop()
            raise ZeroDivisionError
        return Translation(image=GREY)

    with with_canary(snapshot, once, rest_s=0) as (url, _):
        assert [answered_by(url) for _ in range(2)] == [FIRST, SECOND]


def test_what_both_refuse_is_no_failure_of_the_canary(snapshot: Path) -> None:
    with with_canary(snapshot, refuse, first=refuse) as (url, _):
        assert post(f"{url}translate", data=picture()).status_code == 503
        assert not [name for name in figures(url) if "canary_failures_total" in name]


def test_the_first_model_answers_what_the_canary_is_not_for(snapshot: Path) -> None:
    asked = 0

    async def count(request: TranslationRequest) -> Translation | Refusal:
        nonlocal asked
        asked += 1
        return Translation(image=GREY)

    with with_canary(snapshot, count, directions="AB") as (url, now):
        assert [answered_by(url, direction=way) for way in ("AB", "BA")] == [SECOND, FIRST]
        assert now[0]
        now[0] = ServedModel(name=FIRST, snapshot=now[0].snapshot)  # it has been promoted
        assert answered_by(url, "always") == FIRST
        now[0] = None  # its alias has been deleted
        assert answered_by(url, "always") == FIRST
        assert requests.get(f"{url}health", timeout=10).json()["canary"] is None
        assert asked == 1


def test_a_canary_of_exchanged_domains_is_not_asked(snapshot: Path) -> None:
    def named(name: str, a: str, b: str) -> ServedModel:
        return ServedModel(name=name, snapshot=replace(Snapshot.open(snapshot), domain_names={"A": a, "B": b}))

    second = named(SECOND, "horse", "zebra")
    canary = Canary(model=lambda: second, answer=grey, share=1, patience_s=1)
    assert canary.chosen(named(FIRST, "horse", "zebra"), "AB", "always") is second
    assert canary.chosen(named(FIRST, "zebra", "horse"), "AB", "always") is None
