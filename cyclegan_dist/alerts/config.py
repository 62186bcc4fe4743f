"""Options of alerts, and where they are sent: by the options, or else by the environment."""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cyclegan_dist.errors import UsageError

VARIABLES = "CYCLEGAN_DIST_ALERT_"  # begins the names of all
SECRET_VARIABLE = f"{VARIABLES}SECRET"
ADDRESS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?"
RELAY = r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})"
DEFAULT_RELAY = "localhost:25"


@dataclass(frozen=True, kw_only=True)
class AlertsConfig:
    """Where alerts are sent: of a run that has failed, stalled, collapsed or finished, and of a promotion. What is not
    given here is read from CYCLEGAN_DIST_ALERT_WEBHOOK, _EMAIL, _EMAIL_FROM and _SMTP in the environment.
    """

    webhook: str = ""
    """URL to which each alert is posted as JSON, signed with the secret in CYCLEGAN_DIST_ALERT_SECRET. A URL that is a
    secret itself belongs in CYCLEGAN_DIST_ALERT_WEBHOOK: options are written down with the run."""
    email: tuple[str, ...] = ()
    """Addresses to which each alert is mailed."""
    email_from: str = ""
    """Address of the sender. Empty: cyclegan_dist at the name of the machine."""
    smtp: str = ""
    """HOST:PORT of the mail relay. Empty: localhost:25."""
    starttls: bool = False
    """Encrypt mail to the relay, which must have a valid certificate. Needed for a login, with
    CYCLEGAN_DIST_ALERT_SMTP_USER and _SMTP_PASSWORD."""

    def __post_init__(self) -> None:
        if self.webhook:
            _refuse_url(self.webhook, "alerts.webhook", secret=False)
        for address in (*self.email, *filter(None, (self.email_from,))):
            _refuse_address(address, "alerts.email" if address in self.email else "alerts.email_from")
        if self.smtp:
            _relay(self.smtp, "alerts.smtp")


@dataclass(frozen=True, kw_only=True)
class AlertSettings:
    """Where alerts are sent, checked and complete. `webhook` and `email` are empty if none are.

    Attributes:
        webhook: URL, which may be a secret.
        secret: to sign with.
        email: addresses.
        email_from: address.
        relay: host and port.
        starttls: whether mail to it is encrypted.
        login: user and password of it; None without.
    """

    webhook: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    email: tuple[str, ...] = ()
    email_from: str = ""
    relay: tuple[str, int] = ("localhost", 25)
    starttls: bool = False
    login: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def destinations(self) -> tuple[str, ...]:
        """The names of the destinations that are in use."""
        return tuple(name for name, used in (("webhook", self.webhook), ("email", self.email)) if used)


def alert_settings(config: AlertsConfig, environment: Mapping[str, str] = os.environ) -> AlertSettings:
    """Complete the options by the environment.

    Raises:
        UsageError: if a variable has no usable value, or the secret of a webhook is missing.
    """

    def given(option: str, name: str) -> tuple[str, str]:
        variable = _variable(name)
        return (option, f"alerts.{name}") if option else (environment.get(variable, ""), variable)

    url, key = given(config.webhook, "webhook")
    if url:
        _refuse_url(url, key, secret=True)
    secret = environment.get(SECRET_VARIABLE, "")
    if url and not secret:
        raise UsageError(
            f"{key}: alerts are signed: set {SECRET_VARIABLE} to a secret that the receiver knows, such as the output "
            "of: openssl rand -base64 32"
        )
    email = config.email or tuple(environment.get(_variable("email"), "").replace(",", " ").split())
    for address in email:
        _refuse_address(address, "alerts.email" if config.email else _variable("email"))
    sender, key = given(config.email_from, "email_from")
    if sender:
        _refuse_address(sender, key)
    login = (environment.get(_variable("smtp_user"), ""), environment.get(_variable("smtp_password"), ""))
    if any(login) and not (all(login) and config.starttls):
        raise UsageError(
            f"{_variable('smtp_user')} and {_variable('smtp_password')}: give both, and --alerts.starttls, without "
            "which the password would be sent unencrypted"
        )
    relay, key = given(config.smtp, "smtp")
    return AlertSettings(
        webhook=url,
        secret=secret,
        email=email,
        email_from=sender or f"cyclegan_dist@{socket.gethostname()}",
        relay=_relay(relay or DEFAULT_RELAY, key),
        starttls=config.starttls,
        login=(login[0], login[1]) if all(login) else None,
    )


def _variable(name: str) -> str:
    return VARIABLES + name.upper()


def _refuse_url(url: str, key: str, *, secret: bool) -> None:
    """Refuse what is not a URL of HTTP; what may hold a secret only where it would be written down."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")  # as a look-up of its address does
        usable = parts.scheme in ("http", "https") and bool(host) and (parts.port or 1) > 0
    except ValueError:  # of a port, or UnicodeError of a host
        usable, parts = False, urlsplit("")
    if not usable or not url.isascii() or not url.isprintable() or " " in url or parts.fragment:
        raise UsageError(f"{key} is not a URL to which alerts can be posted: give https://HOST/PATH")
    if "@" in parts.netloc:
        raise UsageError(f"{key}: a URL with a password is not used: give one without; alerts are signed")
    if not secret and (parts.query or any(map(_may_be_secret, re.split("[/;]", parts.path)))):
        raise UsageError(
            f"{key}: a URL with a query, or with a part that may be a secret, would be written down with the run: set "
            f"{_variable('webhook')} to it instead"
        )


def _may_be_secret(part: str) -> bool:
    """Whether a part of a path is as those by which chat systems know a sender: long, of letters and digits."""
    return len(part) >= 20 and bool(re.search("[0-9]", part)) and bool(re.search("[A-Za-z]", part))


def _refuse_address(address: str, key: str) -> None:
    if not re.fullmatch(ADDRESS, address):
        raise UsageError(f"{key} {address!r} is not an e-mail address: give NAME@HOST")


def _relay(text: str, key: str) -> tuple[str, int]:
    found = re.fullmatch(RELAY, text)
    if not found or not 0 < int(found[2]) < 65536 or ".." in found[1] or max(map(len, found[1].split("."))) > 63:
        raise UsageError(f"{key} {text!r} is not a mail relay: give HOST:PORT, such as {DEFAULT_RELAY}")
    return found[1].strip("[]"), int(found[2])
