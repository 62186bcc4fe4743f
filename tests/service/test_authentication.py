"""Requests with tokens and without: of the application, and of the rules behind it."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.routing import Route

from cyclegan_dist.errors import UsageError
from cyclegan_dist.service import authentication
from cyclegan_dist.service.access import Access
from cyclegan_dist.service.authentication import Authentication
from cyclegan_dist.service.messages import Refusal
from cyclegan_dist.service.tokens import create_token, read_tokens, revoke_token
from tests.service.running import picture, post, post_json, running

OPEN = {"/", "/docs", "/openapi.json", "/health", "/ready", "/hooks/mlflow"}  # the last one checks a signature


class Rules:
    """An authentication with clocks that stand still, and what it has reported."""

    def __init__(self, folder: Path, **options: Any):
        self.path = folder / "tokens.json"
        self.token, self.secret = create_token(self.path, "ann", **options)
        self.time, self.lines = 0.0, []
        self.rules = Authentication(
            self.path,
            self.lines.append,
            now=lambda: self.token.created.timestamp() + self.time,
            clock=lambda: self.time,
        )

    def status(self, header: str | None = None) -> int:
        """200, or that of the refusal."""
        try:
            self.rules.admit(self.rules.check(f"Bearer {self.secret}" if header is None else header))
        except Refusal as refusal:
            return refusal.status
        return 200


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    return Rules(tmp_path)


def test_only_a_known_token_passes(rules: Rules) -> None:
    secret = rules.secret
    assert rules.status() == rules.status(f"bearer  {secret} ") == 200
    wrong = ("", "Bearer", "Bearer ", secret, f"Basic {secret}", f"Bearer {secret[:-1]}", f"Bearer {secret}a")
    for header in (*wrong, f"Bearer {rules.token.sha256}", f"Bearer {secret} {secret}", "Bearer \udcff"):
        assert rules.status(header) == 401, header


@pytest.mark.parametrize(("header", "word"), [("", "this needs a token"), ("Bearer cgd_wrong", "unknown")])
def test_a_refusal_says_what_to_send(rules: Rules, header: str, word: str) -> None:
    with pytest.raises(Refusal, match=word) as caught:
        rules.rules.check(header)
    assert caught.value.challenge.startswith('Bearer realm="cyclegan_dist"')
    assert ('error="invalid_token"' in caught.value.challenge) == bool(header)


def test_an_expired_token_is_refused_as_such(tmp_path: Path) -> None:
    rules = Rules(tmp_path, days=1)
    rules.time = 86_399
    assert rules.status() == 200
    rules.time = 86_400
    with pytest.raises(Refusal, match="this token expired on ") as caught:
        rules.rules.admit(rules.rules.check(f"Bearer {rules.secret}"))
    assert caught.value.status == 401 and "expired" in caught.value.challenge


def test_any_sixty_seconds_have_no_more_requests_than_the_token_allows(tmp_path: Path) -> None:
    rules = Rules(tmp_path, per_minute=3)
    answers = []
    for rules.time in (0, 30, 59, 59.5, 60, 61, 90, 119, 119.5):
        answers.append(rules.status())
    assert answers == [200, 200, 200, 429, 200, 429, 200, 200, 429]
    with pytest.raises(Refusal, match="3 requests a minute: try again in 1 seconds") as caught:
        rules.rules.admit(rules.token)
    assert caught.value.retry_after == 1
    rules.time = 120.0
    assert rules.status() == 200


def test_a_change_of_the_file_holds_within_a_second(rules: Rules) -> None:
    _, other = create_token(rules.path, "bob")
    assert rules.status(f"Bearer {other}") == 401  # it is looked at once a second
    rules.time = authentication.LOOK_S
    assert rules.status(f"Bearer {other}") == 200
    revoke_token(rules.path, "ann")
    rules.time += authentication.LOOK_S
    assert rules.status() == 401 and rules.status(f"Bearer {other}") == 200
    revoke_token(rules.path, "bob")
    rules.time += authentication.LOOK_S
    assert rules.status(f"Bearer {other}") == 401 and rules.lines == []


def test_requests_are_counted_across_changes_of_the_file(tmp_path: Path) -> None:
    rules = Rules(tmp_path, per_minute=1)
    assert rules.status() == 200
    create_token(rules.path, "bob")
    rules.time = 2
    assert rules.status() == 429


@pytest.mark.parametrize("harm", ["unlink", "chmod", "damage"])
def test_nobody_passes_while_the_file_cannot_be_read(rules: Rules, harm: str) -> None:
    text = rules.path.read_text()
    if harm == "unlink":
        rules.path.unlink()
    elif harm == "chmod":
        rules.path.chmod(0o644)
    else:
        rules.path.write_text(text[:-20])
    for rules.time in (2, 4):
        assert rules.status() == 503
    assert len(rules.lines) == 1 and str(rules.path) in rules.lines[0]
    rules.path.write_text(text)
    rules.path.chmod(0o600)
    rules.time = 6
    assert rules.status() == 200 and rules.lines[1:] == [f"{rules.path} can be read again"]


def test_a_file_that_could_not_be_read_for_another_reason_is_read_again(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> list[Any]:
        raise UsageError(f"{path} cannot be read: Input/output error")

    os.utime(rules.path)
    with monkeypatch.context() as patch:
        patch.setattr(authentication, "read_tokens", failing)
        rules.time = 2
        assert rules.status() == 503
    rules.time = 4
    assert rules.status() == 200


def test_a_file_without_tokens_is_refused_at_the_start(rules: Rules) -> None:
    revoke_token(rules.path, "ann")
    assert read_tokens(rules.path) == []
    with pytest.raises(UsageError, match=r"has no token: add one with .*tokens create"):
        Authentication(rules.path, print)


@pytest.fixture
def locked(snapshot: Path, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of a service that needs a token, and the header with one."""
    _, secret = create_token(tmp_path / "tokens.json", "ann")
    access = Access(authentication=Authentication(tmp_path / "tokens.json", print))
    with running(snapshot, access=access) as url:
        yield url, {"Authorization": f"Bearer {secret}"}


def test_all_that_is_not_meant_to_be_open_needs_a_token(
    locked: tuple[str, dict[str, str]], routes: list[Route]
) -> None:
    url, header = locked
    for route in routes:
        method = "POST" if "POST" in (route.methods or ()) else "GET"
        address = url + route.path[1:]
        refused = requests.request(method, address, data=picture() if method == "POST" else None, timeout=10)
        assert (refused.status_code == 401) == (route.path not in OPEN), route.path
        if refused.status_code == 401:
            assert refused.headers["WWW-Authenticate"].startswith("Bearer ") and list(refused.json()) == ["error"]
            assert requests.request(method, address, headers=header, timeout=10).status_code != 401
    made = post(f"{url}translate", data=picture(), headers=header)
    assert made.status_code == 200 and made.headers["Content-Type"] == "image/png"
    image = base64.b64encode(picture()).decode()
    assert post_json(url, {"image": image}).status_code == 401
    form = post(f"{url}translate", files={"image": picture()}, headers=header)
    assert form.content == made.content
    counts = requests.get(f"{url}metrics", headers=header, timeout=10).text
    assert 'cyclegan_requests_total{model="tiny",status="401"} 3.0' in counts


def test_pages_of_other_sites_are_refused_also_with_a_token(locked: tuple[str, dict[str, str]]) -> None:
    url, header = locked
    assert post(f"{url}translate", data=picture(), headers={**header, "Origin": "https://a.org"}).status_code == 403


def test_it_is_described_and_shown(locked: tuple[str, dict[str, str]], service: str) -> None:
    url, _ = locked
    document = requests.get(f"{url}openapi.json", timeout=10).json()
    named = {path for path, methods in document["paths"].items() if any("security" in one for one in methods.values())}
    assert named == {"/translate", "/v1/translate", "/card", "/metrics"}
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert {"401", "429"} <= document["paths"]["/card"]["get"]["responses"].keys()
    assert "Authorization: Bearer" in requests.get(f"{url}docs", timeout=10).text
    assert 'id="token"' in requests.get(url, timeout=10).text
    plain = requests.get(f"{service}openapi.json", timeout=10).json()
    assert "security" not in str(plain) and "Authorization" not in requests.get(f"{service}docs", timeout=10).text
    assert 'id="token"' not in requests.get(service, timeout=10).text
