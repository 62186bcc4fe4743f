"""Sends the alerts of a journal to one destination, each until it is taken or too old."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cyclegan_dist.alerts import mail, webhook
from cyclegan_dist.alerts.alert import KIND, Alert
from cyclegan_dist.alerts.config import AlertSettings
from cyclegan_dist.tracking.journal import append
from cyclegan_dist.tracking.quantities import duration
from cyclegan_dist.tracking.sender_state import SenderState, key_of

MAX_AGE_S = 86_400.0  # after which an alert is of no use
TRIES = 3  # of `send_now`
DELIVERY_S = 30.0  # at most, for one: an answer that comes byte by byte is within the limits of each part


@dataclass(frozen=True)
class Carrier:
    """One way to send alerts.

    Attributes:
        deliver: sends one, or raises OSError with the reason in a line.
        place: where to, for people.
        known_as: identifies that in a state.
    """

    deliver: Callable[[AlertSettings, Alert], None]
    place: Callable[[AlertSettings], str]
    known_as: Callable[[AlertSettings], str]


CARRIERS = {
    "webhook": Carrier(webhook.post, webhook.place, webhook.known_as),
    "email": Carrier(mail.mail, mail.place, mail.known_as),
}


class AlertDestination:
    """One destination of alerts, as `Destination`: its state says which are delivered. One that was delivered before a
    process was killed, and not noted, is sent again with the same id.

    Args:
        folder: of a journal: a run's.
        name: one of `CARRIERS`.
        settings: of all.
    """

    def __init__(self, folder: Path, name: str, settings: AlertSettings):
        store, key = CARRIERS[name].known_as(settings), key_of(folder)
        state = SenderState.read(folder, name)
        self._is_new = (state.key, state.store) != (key, store)
        self._state = SenderState(store, key) if self._is_new else state
        if self._is_new:
            self._state.save(folder, name)
        self._folder, self._name, self._settings = folder, name, settings
        self.offset = self._state.offset

    def send(self, record: dict[str, Any], offset: int) -> None:
        """Deliver an alert; nothing else is sent.

        Raises:
            OSError: if it is not taken.
        """
        if record["kind"] == KIND:
            alert, carrier = Alert.of(record), CARRIERS[self._name]
            if time.time() - alert.time <= MAX_AGE_S:
                _deliver(carrier, self._settings, alert)
            elif not self._is_new:  # else it was sent to another place, or before there was this one
                place = carrier.place(self._settings)
                text = f"{self._name}: {alert.title} is not sent to {place}: it is older than {duration(MAX_AGE_S)}"
                append(self._folder, "message", text=text)
            self._state = replace(self._state, offset=offset)
            self._state.save(self._folder, self._name)
        self.offset = offset

    def flush(self) -> None:
        """Nothing: the state is written after each alert."""


def _deliver(carrier: Carrier, settings: AlertSettings, alert: Alert) -> None:
    failures: list[Exception] = []

    def run() -> None:
        try:
            carrier.deliver(settings, alert)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DELIVERY_S)
    if thread.is_alive():
        raise OSError(f"it has not answered within {DELIVERY_S:g} s")
    if failures:
        raise failures[0]


def places(settings: AlertSettings) -> str:
    """All destinations, for people."""
    return " and ".join(f"{name} at {CARRIERS[name].place(settings)}" for name in settings.destinations)


def is_delivered(folder: Path, name: str, settings: AlertSettings, offset: int) -> bool:
    """Whether the destination has the alert whose record ends at byte `offset` of the journal."""
    state = SenderState.read(folder, name)
    return state.store == CARRIERS[name].known_as(settings) and state.offset >= offset


def send_now(settings: AlertSettings, alert: Alert, tries: int = 0) -> list[str]:
    """Send an alert to all destinations, without a journal, each at most `tries` times (0: as is usual).

    Returns:
        For each destination that did not take it, a line.
    """
    failed, tries = list[str](), tries or TRIES
    for name in settings.destinations:
        carrier = CARRIERS[name]
        for failures in range(1, tries + 1):
            try:
                _deliver(carrier, settings, alert)
                break
            except OSError as error:
                if failures == tries:
                    failed.append(f"{name} at {carrier.place(settings)} did not take the alert: {error}")
                else:
                    time.sleep(2.0 ** (failures - 1))
    return failed
