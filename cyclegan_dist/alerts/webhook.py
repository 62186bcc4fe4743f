"""Posts alerts to a URL, signed."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from cyclegan_dist.alerts.alert import Alert
from cyclegan_dist.alerts.config import AlertSettings
from cyclegan_dist.alerts.signature import signature

TIMEOUT_S = 10.0  # to connect, and for each part of the answer
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"  # of Standard Webhooks


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects would be followed by a GET without the alert: they are errors."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def post(settings: AlertSettings, alert: Alert) -> None:
    """Post an alert; an answer with a status of 2xx takes it.

    Raises:
        OSError: in one line and without the URL's path, if there is no such answer.
    """
    body, now = alert.body(), str(int(time.time()))
    headers = {"Content-Type": "application/json", "User-Agent": "cyclegan_dist", ID: alert.id, TIMESTAMP: now}
    headers[SIGNATURE] = signature(settings.secret, alert.id, now, body)
    request = urllib.request.Request(settings.webhook, body, headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"it answers with status {error.code}") from None
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from None
    except http.client.HTTPException as error:
        raise OSError(f"its answer is not HTTP: {type(error).__name__}") from None
    except ValueError as error:  # its text may have the URL
        raise OSError(f"{type(error).__name__}: check the URL, and those of proxies in the environment") from None


def place(settings: AlertSettings) -> str:
    """The URL for people: without what may be a secret in it."""
    parts = urlsplit(settings.webhook)
    return f"{parts.scheme}://{parts.netloc}"


def known_as(settings: AlertSettings) -> str:
    """Identifies the URL in a state, without what may be a secret in it."""
    return f"{place(settings)} {hashlib.sha256(settings.webhook.encode()).hexdigest()[:16]}"
