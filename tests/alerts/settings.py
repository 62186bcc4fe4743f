"""Settings of alerts for tests."""

from cyclegan_dist.alerts.alert import Alert
from cyclegan_dist.alerts.config import AlertSettings
from tests.alerts.receivers import MailReceiver, WebReceiver

SECRET = "s3cret"
ALERT = Alert(id="0" * 32, event="failed", name="horses", reason="rank 1: gone", facts={"images": 4})


def settings_for(web: WebReceiver | None = None, mail: MailReceiver | None = None) -> AlertSettings:
    """Settings that name these receivers."""
    host, _, port = mail.address.rpartition(":") if mail else ("localhost", "", "25")
    return AlertSettings(
        webhook=web.url if web else "",
        secret=SECRET,
        email=("a@example.org", "b@example.org") if mail else (),
        email_from="runs@example.org",
        relay=(host, int(port)),
    )
