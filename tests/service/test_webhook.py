"""Notifications of an MLflow server, with its own signatures and with others."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.service.app import make_app
from cyclegan_dist.service.messages import Refusal, ServedModel, Translation, TranslationRequest
from cyclegan_dist.service.origins import AllowedHosts
from cyclegan_dist.service.server import address, answering, listen
from cyclegan_dist.service.webhook import Webhook
from tests.service.running import LIMITS

SECRET = "some long secret of 32 characters"
NOW = 1_800_000_000
MOVED = json.dumps(
    {"entity": "model_version_alias", "action": "created", "data": {"name": "zebra", "alias": "champion"}}
)


async def never(request: TranslationRequest) -> Translation | Refusal:
    raise AssertionError


@pytest.fixture
def hook(snapshot: Path) -> Any:
    """The URL of a service's webhook, and the aliases of which it was notified."""
    moved: list[str] = []

    def note(source: str) -> bool:
        moved.append(source)
        return source == "models:/zebra@champion"

    model = ServedModel(name="it", snapshot=Snapshot.open(snapshot))
    listener = listen("127.0.0.1", 0)
    webhook = Webhook(SECRET, note, now=lambda: NOW)
    app = make_app("it", lambda: model, LIMITS, AllowedHosts.of(listener), never, webhook=webhook)
    with answering(app, listener):
        yield f"{address(listener)}hooks/mlflow", moved


def signed(body: str, *, secret: str = SECRET, when: str = str(NOW), delivery: str = "one") -> dict[str, str]:
    """Headers as MLflow writes them."""
    code = hmac.new(secret.encode(), f"{delivery}.{when}.{body}".encode(), hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(code).decode()}"
    return {"X-MLflow-Signature": signature, "X-MLflow-Timestamp": when, "X-MLflow-Delivery-Id": delivery}


def send(url: str, body: str, headers: dict[str, str]) -> "requests.Response":
    return requests.post(url, data=body, headers=headers | {"Content-Type": "application/json"}, timeout=10)


@pytest.mark.slow
def test_mlflow_signs_so() -> None:
    from mlflow.webhooks import delivery

    given = delivery._generate_hmac_signature(SECRET, "one", str(NOW), MOVED)  # pyright: ignore[reportPrivateUsage]
    assert given == signed(MOVED)["X-MLflow-Signature"]


def test_what_mlflow_has_signed_is_passed_on(hook: Any) -> None:
    url, moved = hook
    answer = send(url, MOVED, signed(MOVED))
    assert (answer.status_code, answer.json()) == (202, {"served": True})
    other = MOVED.replace("champion", "candidate")
    assert send(url, other, signed(other, when=str(NOW - 300))).json() == {"served": False}
    assert moved == ["models:/zebra@champion", "models:/zebra@candidate"]
    tag = json.dumps({"entity": "model_version_tag", "action": "set", "data": {"name": "zebra", "key": "alias"}})
    assert send(url, tag, signed(tag)).json() == {"served": False}
    assert len(moved) == 2
    assert send(url, "[]", signed("[]")).status_code == 422


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {key: value for key, value in signed(MOVED).items() if key != "X-MLflow-Signature"},
        {key: value for key, value in signed(MOVED).items() if key != "X-MLflow-Timestamp"},
        {key: value for key, value in signed(MOVED).items() if key != "X-MLflow-Delivery-Id"},
        signed(MOVED, secret="another"),
        signed(MOVED, secret=""),
        signed(MOVED + " "),
        signed(MOVED) | {"X-MLflow-Timestamp": str(NOW + 1)},
        signed(MOVED) | {"X-MLflow-Delivery-Id": "two"},
        signed(MOVED) | {"X-MLflow-Signature": signed(MOVED)["X-MLflow-Signature"].removeprefix("v1,")},
        signed(MOVED, when=str(NOW - 301)),
        signed(MOVED, when=str(NOW + 301)),
        signed(MOVED, when="9" * 5000),
        signed(MOVED, when="-1"),
    ],
    ids=[
        "nothing",
        "no-signature",
        "no-time",
        "no-id",
        "secret",
        "empty",
        "body",
        "time",
        "id",
        "v1",
        "old",
        "future",
        "long",
        "negative",
    ],
)
def test_what_is_not_signed_so_is_refused(hook: Any, headers: dict[str, str]) -> None:
    url, moved = hook
    answer = send(url, MOVED, headers)
    assert answer.status_code == 401 and list(answer.json()) == ["error"]
    assert SECRET not in answer.text and not moved


def test_without_a_secret_no_signature_is_right(service: str) -> None:
    headers = signed(MOVED, secret="", when=str(int(time.time())))
    answer = send(f"{service}hooks/mlflow", MOVED, headers)
    assert answer.status_code == 404 and "CYCLEGAN_DIST_WEBHOOK_SECRET" in answer.json()["error"]


def test_a_long_body_is_refused_before_it_is_signed(hook: Any) -> None:
    url, moved = hook
    assert send(url, " " * 70_000, {}).status_code == 413 and not moved
