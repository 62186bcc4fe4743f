"""One alert: what has happened to a run or a model."""

import hashlib
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cyclegan_dist.storage.checked import DamagedError

KIND = "alert"  # of its record in a journal
Event = Literal["failed", "stalled", "collapsed", "finished", "promoted", "test"]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What people are to know.

    Attributes:
        id: the same each time that this is sent, so that a receiver can leave out what it has.
        event: what has happened.
        name: of the run or the model.
        reason: a sentence.
        time: seconds since 1970.
        facts: further values for programs.
    """

    id: str
    event: Event
    name: str
    reason: str
    time: float = field(default_factory=time.time)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """A line without the reason."""
        return f"{self.event}: {self.name}"

    def record(self) -> dict[str, Any]:
        """Fields of its record in a journal, which has the time."""
        return {
            "id": self.id,
            "event": self.event,
            "name": self.name,
            "reason": self.reason,
            "facts": {"host": socket.gethostname(), **self.facts},
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Alert":
        """The alert of a record.

        Raises:
            DamagedError: if it has not all fields.
        """
        try:
            fields = {name: record[name] for name in ("id", "event", "name", "reason", "facts")}
            return cls(time=record["time"] / 1000, **fields)
        except (KeyError, TypeError) as error:
            raise DamagedError(f"a record of an alert lacks a field: {error}") from error

    def body(self) -> bytes:
        """As JSON, for programs; `text` is what chat systems show."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.time))
        data = {"name": self.name, "reason": self.reason, **self.facts}
        fields = {"event": self.event, "text": f"{self.title}: {self.reason}", "timestamp": when, "data": data}
        return json.dumps(fields).encode()


def identity(*parts: object) -> str:
    """An id: the same of the same parts."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def encodable(text: str) -> str:
    """A text with those bytes of file names escaped that are not UTF-8: neither mail nor a terminal takes them."""
    return text.encode(errors="backslashreplace").decode()
