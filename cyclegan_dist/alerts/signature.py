"""Signatures of webhooks, as in the Standard Webhooks specification, which MLflow follows too: an HMAC with SHA-256 of
the delivery's id, the time in seconds and the body, joined by full stops.
"""

import base64
import hashlib
import hmac

MAX_AGE_S = 300  # of a delivery, and what two clocks may differ by


def signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """The signature of a delivery, `v1,` and base64.

    Args:
        secret: its UTF-8 bytes are the key.
        delivery: the id.
        timestamp: seconds since 1970, in decimal digits.
        body: as it is sent.
    """
    signed = b".".join((delivery.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


def is_signed(secret: str, delivery: str, timestamp: str, given: str, body: bytes, now: float) -> bool:
    """Whether a delivery is signed with `secret`, at most `MAX_AGE_S` seconds before or after `now`."""
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 20):
        return False
    fresh = abs(now - int(timestamp)) <= MAX_AGE_S
    return fresh and hmac.compare_digest(given.encode(), signature(secret, delivery, timestamp, body).encode())
