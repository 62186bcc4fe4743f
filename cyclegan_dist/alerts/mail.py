"""Mails alerts through a relay."""

import smtplib
import ssl
import sys
import time
from email.message import EmailMessage
from email.utils import formatdate

from cyclegan_dist.alerts.alert import Alert, encodable
from cyclegan_dist.alerts.config import AlertSettings

TIMEOUT_S = 10.0  # to connect, and for each answer of the relay


def mail(settings: AlertSettings, alert: Alert) -> None:
    """Give an alert to the relay, for all addresses.

    Raises:
        OSError: in one line, if the relay cannot be reached or takes it for none of them.
    """
    message = EmailMessage()
    message["From"], message["To"] = settings.email_from, ", ".join(settings.email)
    message["Subject"] = f"[cyclegan_dist] {' '.join(encodable(alert.title).split())}"
    message["Date"] = formatdate(alert.time, localtime=True)
    message["Message-ID"] = f"<{alert.id}@{settings.email_from.rpartition('@')[2]}>"
    when = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(alert.time))
    facts = {"time": when, **alert.facts}
    lines = "".join(f"\n{name}: {value}" for name, value in facts.items())
    message.set_content(encodable(f"{alert.title}\n{alert.reason}\n{lines}\n"))
    host, port = settings.relay
    try:
        with smtplib.SMTP(host, port, timeout=TIMEOUT_S) as relay:
            if settings.starttls:
                relay.starttls(context=ssl.create_default_context())
            if settings.login:
                relay.login(*settings.login)
            refused = relay.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        raise OSError(f"no address is taken: {_reason(next(iter(error.recipients.values())))}") from None
    except smtplib.SMTPResponseException as error:
        raise OSError(_reason((error.smtp_code, error.smtp_error))) from None
    if refused:  # not an error: those that were taken would get it again
        text = f"{place(settings)} refuses {', '.join(refused)}: {_reason(next(iter(refused.values())))}"
        print(text, file=sys.stderr, flush=True)


def place(settings: AlertSettings) -> str:
    """The relay, for people."""
    host, port = settings.relay
    return f"relay {host}:{port}"


def known_as(settings: AlertSettings) -> str:
    """Identifies the addresses in a state."""
    return " ".join(settings.email)


def _reason(answer: tuple[int, bytes | str]) -> str:
    code, text = answer
    shown = text.decode(errors="replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(shown.split())}"
