"""The alert of a promotion, which has moved the alias whether it is taken or not."""

from collections.abc import Callable

import pytest

from cyclegan_dist.alerts import delivery
from pipelines import promote
from tests.alerts.receivers import web_receiver
from tests.alerts.settings import SECRET, settings_for
from tests.conftest import MLFLOW, Answer

pytestmark = MLFLOW


@pytest.mark.parametrize("moved", [True, False])
def test_it_is_sent_when_the_alias_has_moved_and_only_then(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    from cyclegan_dist.promotion.gate import Verdict
    from cyclegan_dist.promotion.promote import PromotionResult

    monkeypatch.setenv("CYCLEGAN_DIST_ALERT_SECRET", SECRET)
    monkeypatch.setattr(delivery, "TRIES", 1)
    outcome = PromotionResult("horses", "2", Verdict(True, "lower by 0.1"), moved=moved)
    monkeypatch.setattr(promote, "promote", lambda *_, **__: outcome)
    with web_receiver() as web:
        where = ["--alerts.webhook", web.url, "--alerts.email", "a@example.org", "--alerts.smtp", "127.0.0.1:1"]
        code, out, err = command(promote.main, "run", "--name", "horses", "--data", "data", *where)
        assert code == 0 and "version 2 is champion" in out
        warning = "warning: email at relay 127.0.0.1:1 did not take the alert: [Errno 111] Connection refused\n"
        assert err == warning * moved
        told = [(body["event"], body["text"], body["data"]["model"]) for body in web.bodies]
        assert (
            told == [("promoted", "promoted: horses: version 2 is champion: lower by 0.1", "models:/horses/2")] * moved
        )


def test_the_same_version_may_be_promoted_again() -> None:
    from cyclegan_dist.promotion.alert import alert_of_promotion

    with web_receiver() as web:
        for _ in range(2):
            alert_of_promotion(settings_for(web), "horses", "1", "rolled back from version 2")
    assert len({headers["webhook-id"] for headers, _ in web.posts}) == 2


def test_bad_options_are_refused_first(command: Callable[..., Answer]) -> None:
    run = ["nowhere", "--name", "horses", "--data", "nowhere", "--alerts.email", "ops"]
    code, out, err = command(promote.main, *run)
    assert (code, out) == (2, "") and err == "error: alerts.email 'ops' is not an e-mail address: give NAME@HOST\n"
