"""Alerts by e-mail, to a relay on this machine."""

from dataclasses import replace

import pytest

from cyclegan_dist.alerts import mail
from tests.alerts.receivers import mail_receiver
from tests.alerts.settings import ALERT, settings_for


def test_a_message_says_it_all_and_has_the_id_of_the_alert() -> None:
    with mail_receiver() as relay:
        mail.mail(settings_for(mail=relay), ALERT)
    [message] = relay.messages
    assert message["Subject"] == "[cyclegan_dist] failed: horses" and message["From"] == "runs@example.org"
    assert message["To"] == "a@example.org, b@example.org" and message["Message-ID"] == f"<{ALERT.id}@example.org>"
    text = message.get_content()
    assert "rank 1: gone" in text and "images: 4" in text


def test_a_name_cannot_add_headers() -> None:
    with mail_receiver() as relay:
        mail.mail(settings_for(mail=relay), replace(ALERT, name="a\r\nBcc: c@example.org", reason="one\n.\ntwo"))
    [message] = relay.messages
    assert message["Bcc"] is None and message["Subject"] == "[cyclegan_dist] failed: a Bcc: c@example.org"
    assert "one\r\n.\r\ntwo" in message.get_content()


def test_a_file_name_that_is_not_utf_8_keeps_no_alert_back() -> None:
    with mail_receiver() as relay:
        mail.mail(settings_for(mail=relay), replace(ALERT, name="a\udce4", reason="b\udce4.png is no image"))
    [message] = relay.messages
    assert message["Subject"].endswith("a\\udce4") and "b\\udce4.png is no image" in message.get_content()


def test_an_address_that_is_refused_keeps_no_other_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    with mail_receiver() as relay:
        relay.refused = {"b@example.org"}
        mail.mail(settings_for(mail=relay), ALERT)
        assert len(relay.messages) == 1 and "refuses b@example.org: 550 no such user" in capsys.readouterr().err
        relay.refused = {"a@example.org", "b@example.org"}
        with pytest.raises(OSError, match="no address is taken: 550 no such user"):
            mail.mail(settings_for(mail=relay), ALERT)


def test_a_relay_that_hangs_or_cannot_encrypt_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_receiver() as relay:
        with pytest.raises(OSError, match="STARTTLS"):
            mail.mail(replace(settings_for(mail=relay), starttls=True), ALERT)
        monkeypatch.setattr(mail, "TIMEOUT_S", 0.1)
        relay.hangs = True
        with pytest.raises(OSError, match="timed out"):
            mail.mail(settings_for(mail=relay), ALERT)
    assert not relay.messages
