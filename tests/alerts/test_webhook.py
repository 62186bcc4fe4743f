"""Posts of alerts to a web server."""

import time

import pytest

from cyclegan_dist.alerts import webhook
from cyclegan_dist.alerts.config import AlertSettings
from cyclegan_dist.alerts.signature import is_signed
from tests.alerts.receivers import web_receiver
from tests.alerts.settings import ALERT, SECRET, settings_for


def test_it_is_signed_json() -> None:
    with web_receiver() as web:
        webhook.post(settings_for(web), ALERT)
    [(headers, body)] = web.posts
    signed = (headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"])
    assert is_signed(SECRET, *signed, body, time.time()) and not is_signed("other", *signed, body, time.time())
    assert (headers["webhook-id"], headers["content-type"]) == (ALERT.id, "application/json")
    [told] = web.bodies
    assert (told["event"], told["text"]) == ("failed", "failed: horses: rank 1: gone")
    assert told["data"] == {"name": "horses", "reason": "rank 1: gone", "images": 4}


@pytest.mark.parametrize("status", [302, 307, 401, 500])
def test_any_other_answer_is_an_error_and_no_redirect_is_followed(status: int) -> None:
    with web_receiver() as web:
        web.statuses = [status]
        with pytest.raises(OSError, match=f"status {status}"):
            webhook.post(settings_for(web), ALERT)
    assert len(web.posts) == 1


def test_a_server_that_does_not_answer_is_an_error_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.1)
    with web_receiver() as web:
        web.holds.set()
        started = time.monotonic()
        with pytest.raises(OSError, match="timed out"):
            webhook.post(settings_for(web), ALERT)
        assert time.monotonic() - started < 2


def test_what_may_be_a_secret_is_not_shown_or_kept() -> None:
    settings = AlertSettings(webhook="https://example.org/token?key=1", secret=SECRET)
    other = AlertSettings(webhook="https://example.org/token?key=2", secret=SECRET)
    assert webhook.place(settings) == "https://example.org"
    assert webhook.known_as(settings) != webhook.known_as(other) and "key" not in webhook.known_as(settings)
