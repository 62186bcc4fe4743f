"""The alert of a promotion, which has moved the alias whether it is taken or not."""

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from cyclegan_dist.alerts import delivery
from cyclegan_dist.errors import UsageError
from pipelines import promote
from tests.alerts.receivers import web_receiver
from tests.alerts.settings import SECRET, settings_for
from tests.conftest import MLFLOW, Answer

pytestmark = MLFLOW
FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Tags of version 2 of a registered name, in place of a store of MLflow."""
    from cyclegan_dist.promotion import alert

    found = {"promoted": time.strftime(FORMAT, time.gmtime()), "reason": "lower by 0.1"}
    version = SimpleNamespace(number="2", tags=found)
    registered = SimpleNamespace(versions=lambda: [version], tag=lambda number, key, value: found.update({key: value}))
    monkeypatch.setattr(alert, "Registered", lambda name: registered)
    return found


def result(*, moved: bool) -> Any:
    from cyclegan_dist.promotion.gate import Verdict
    from cyclegan_dist.promotion.promote import PromotionResult

    reason = "lower by 0.1" if moved else "it is champion already"
    return PromotionResult("horses", "2", Verdict(True, reason), moved=moved)


def test_it_is_sent_once_and_again_if_it_was_not_taken(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tags: dict[str, str]
) -> None:
    monkeypatch.setenv("CYCLEGAN_DIST_ALERT_SECRET", SECRET)
    monkeypatch.setattr(delivery, "TRIES", 1)
    outcomes = iter([result(moved=True), *[result(moved=False)] * 3])
    monkeypatch.setattr(promote, "promote", lambda *_, **__: next(outcomes))
    run = ["run", "--name", "horses", "--data", "data"]
    with web_receiver() as web:
        run += ["--alerts.webhook", web.url]
        code, out, err = command(promote.main, *run, "--alerts.email", "a@example.org", "--alerts.smtp", "127.0.0.1:1")
        assert code == 0 and "version 2 is champion" in out
        assert err == "warning: email at relay 127.0.0.1:1 did not take the alert: [Errno 111] Connection refused\n"
        assert command(promote.main, *run, "--dry-run")[0] == 0 and len(web.posts) == 1
        for _ in range(2):
            assert command(promote.main, *run)[::2] == (0, "")
        told = [(body["event"], body["text"], body["data"]["model"]) for body in web.bodies]
    assert told == [("promoted", "promoted: horses: version 2 is champion: lower by 0.1", "models:/horses/2")] * 2
    assert len({headers["webhook-id"] for headers, _ in web.posts}) == 1


def test_an_old_promotion_is_told_of_no_more(tags: dict[str, str]) -> None:
    from cyclegan_dist.promotion.alert import alert_of_promotion

    with web_receiver() as web:
        for when in (time.strftime(FORMAT, time.gmtime(time.time() - 90_000)), "yesterday"):
            tags["promoted"] = when
            alert_of_promotion(settings_for(web), result(moved=False))
    assert not web.posts


def test_a_proposal_tells_of_no_earlier_promotion(tags: dict[str, str]) -> None:
    from cyclegan_dist.promotion.alert import alert_of_promotion

    with web_receiver() as web:
        alert_of_promotion(settings_for(web), replace(result(moved=False), proposed="3"))
        assert not web.posts
        alert_of_promotion(settings_for(web), result(moved=False))
    assert len(web.posts) == 1


def test_a_store_that_fails_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    from cyclegan_dist.promotion import alert

    def fail(name: str) -> None:
        raise UsageError("MLflow is gone")

    monkeypatch.setattr(alert, "Registered", fail)
    alert.alert_of_promotion(settings_for(), result(moved=True))
    assert capsys.readouterr().err.endswith("may be sent again: MLflow is gone\n")


def test_each_rollback_is_told_of() -> None:
    from cyclegan_dist.promotion.alert import alert_of_rollback

    with web_receiver() as web:
        for _ in range(2):
            alert_of_rollback(settings_for(web), "horses", "2", "1")
    assert len({headers["webhook-id"] for headers, _ in web.posts}) == 2
    assert web.bodies[0]["text"] == "promoted: horses: version 1 is champion: rolled back from version 2"


def test_bad_options_are_refused_first(command: Callable[..., Answer]) -> None:
    run = ["nowhere", "--name", "horses", "--data", "nowhere", "--alerts.email", "ops"]
    code, out, err = command(promote.main, *run)
    assert (code, out) == (2, "") and err == "error: alerts.email 'ops' is not an e-mail address: give NAME@HOST\n"
