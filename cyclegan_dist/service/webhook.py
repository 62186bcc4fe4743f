"""Signed notifications of an MLflow server that an alias of its registry has moved.

MLflow signs as the Standard Webhooks specification does, and as alerts are signed.
"""

import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cyclegan_dist.alerts.signature import MAX_AGE_S, is_signed
from cyclegan_dist.service.messages import Refusal
from cyclegan_dist.service.requests import read_body
from cyclegan_dist.service.responses import HEADERS

SECRET_VARIABLE = "CYCLEGAN_DIST_WEBHOOK_SECRET"
SIGNATURE, TIMESTAMP, DELIVERY = "X-MLflow-Signature", "X-MLflow-Timestamp", "X-MLflow-Delivery-Id"
MAX_BYTES = 1 << 16
_UNSIGNED = "this notification is not signed with the secret of this service, or was signed more than {} s ago"


class _Notification(BaseModel):
    """The part of a notification's body that is read."""

    entity: str
    data: dict[str, Any] = {}


class Webhook:
    """Receives notifications.

    Args:
        secret: that the MLflow server signs with; empty: all notifications are refused.
        moved: called with `models:/NAME@ALIAS` for each one; returns whether that alias is served. It must not block.
        now: the time in seconds since 1970.
    """

    def __init__(self, secret: str, moved: Callable[[str], bool], now: Callable[[], float] = time.time):
        self._secret, self._moved, self._now = secret, moved, now

    async def receive(self, request: Request) -> Response:
        """Answer 202 to a notification, whatever it is about. Raises Refusal for what is not signed, or damaged."""
        if not self._secret:
            raise Refusal(404, f"notifications are off: set {SECRET_VARIABLE} to the webhook's secret")
        body = await read_body(request, MAX_BYTES, MAX_BYTES)
        if not self._is_signed(request, body):
            raise Refusal(401, _UNSIGNED.format(MAX_AGE_S))
        try:
            notification = _Notification.model_validate_json(body)
        except ValidationError:
            raise Refusal(422, "the notification is not one of MLflow's") from None
        name, alias = (notification.data.get(key) for key in ("name", "alias"))
        served = notification.entity == "model_version_alias" and self._moved(f"models:/{name}@{alias}")
        return JSONResponse({"served": served}, 202, headers=HEADERS)

    def _is_signed(self, request: Request, body: bytes) -> bool:
        given, when, delivery = (request.headers.get(name, "") for name in (SIGNATURE, TIMESTAMP, DELIVERY))
        return is_signed(self._secret, delivery, when, given, body, self._now())
