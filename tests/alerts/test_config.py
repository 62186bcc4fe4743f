"""Where alerts are sent, and what is refused before anything else happens."""

import pytest

from cyclegan_dist.alerts.config import SECRET_VARIABLE, AlertsConfig, AlertSettings, alert_settings
from cyclegan_dist.errors import UsageError

SECRET = {SECRET_VARIABLE: "s3cret"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"webhook": "example.org/x"}, "give https://HOST/PATH"),
        ({"webhook": "ftp://example.org/x"}, "give https://HOST/PATH"),
        ({"webhook": "https://"}, "give https://HOST/PATH"),
        ({"webhook": "https://example.org:99999/"}, "give https://HOST/PATH"),
        ({"webhook": "https://example..org/"}, "give https://HOST/PATH"),
        ({"webhook": "https://example.org/a b"}, "give https://HOST/PATH"),
        ({"webhook": "https://example.org/\u00e4"}, "give https://HOST/PATH"),
        ({"webhook": "https://me:pass@example.org/"}, "a URL with a password is not used"),
        ({"webhook": "https://example.org/?key=pass"}, "set CYCLEGAN_DIST_ALERT_WEBHOOK to it instead"),
        ({"webhook": "https://hooks.example.org/T0/x9Kpass@QzJw0aLmN4rT8vY2b"}, "that may be a secret"),
        ({"email": ("ops",)}, "alerts.email 'ops' is not an e-mail address: give NAME@HOST"),
        ({"email": ("ops@example.org\nBcc: x@y",)}, "is not an e-mail address"),
        ({"email_from": "ops@"}, "alerts.email_from 'ops@' is not an e-mail address"),
        ({"smtp": "relay"}, "alerts.smtp 'relay' is not a mail relay: give HOST:PORT"),
        ({"smtp": "relay..org:25"}, "give HOST:PORT"),
        ({"smtp": "relay:0"}, "give HOST:PORT"),
        ({"smtp": "relay:65536"}, "give HOST:PORT"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line_without_secrets(options: dict, says: str) -> None:
    with pytest.raises(UsageError) as error:
        AlertsConfig(**options)
    text = str(error.value)
    assert says in text and "\n" not in text and "pass@" not in text and "key=pass" not in text


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "alerts.webhook: alerts are signed: set CYCLEGAN_DIST_ALERT_SECRET"),
        ({"CYCLEGAN_DIST_ALERT_EMAIL": "ops", **SECRET}, "CYCLEGAN_DIST_ALERT_EMAIL 'ops' is not"),
        ({"CYCLEGAN_DIST_ALERT_SMTP": "x", **SECRET}, "CYCLEGAN_DIST_ALERT_SMTP 'x' is not"),
        ({"CYCLEGAN_DIST_ALERT_EMAIL_FROM": "x", **SECRET}, "CYCLEGAN_DIST_ALERT_EMAIL_FROM 'x' is not"),
        ({"CYCLEGAN_DIST_ALERT_SMTP_USER": "x", **SECRET}, "give both, and --alerts.starttls"),
    ],
)
def test_what_the_environment_lacks_is_refused(environment: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        alert_settings(AlertsConfig(webhook="https://example.org/x"), environment)


def test_options_come_before_the_environment() -> None:
    environment = {
        "CYCLEGAN_DIST_ALERT_WEBHOOK": "https://example.org/?token=1",
        "CYCLEGAN_DIST_ALERT_EMAIL": "a@example.org, b@example.org",
        "CYCLEGAN_DIST_ALERT_SMTP": "[::1]:2525",
        **SECRET,
    }
    settings = alert_settings(AlertsConfig(email_from="me@example.org"), environment)
    assert settings.webhook == "https://example.org/?token=1" and settings.destinations == ("webhook", "email")
    assert settings.email == ("a@example.org", "b@example.org") and settings.relay == ("::1", 2525)
    options = AlertsConfig(webhook="http://127.0.0.1:8/x", email=("c@example.org",), smtp="relay:25")
    settings = alert_settings(options, environment)
    assert (settings.webhook, settings.email) == (options.webhook, options.email)
    assert settings.relay == ("relay", 25) and settings.email_from.startswith("cyclegan_dist@")
    assert "s3cret" not in repr(settings) and "127.0.0.1" not in repr(settings)


def test_nothing_is_sent_by_default() -> None:
    assert alert_settings(AlertsConfig(), {}).destinations == AlertSettings().destinations == ()
