"""What a check found, and how it is told without a secret in it."""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from cyclegan_dist.errors import UsageError

Level = Literal["green", "yellow", "red"]
SECRET_NAME = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|(ACCESS|API|PRIVATE|ACCOUNT)_?KEY", re.IGNORECASE)
PLACE_NAME = re.compile(r"_(PATH|FILE|DIR)$", re.IGNORECASE)  # of a file that holds the secret
SHORTEST_SECRET = 6  # characters; hiding the word "1" would only garble what is told


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the table.

    Attributes:
        check: what was looked at.
        level: green is fit, yellow may cost something, red will.
        found: what is there, with figures.
        advice: one sentence on what to do; empty where there is nothing to do.
        figures: the same for programs: plain values.
    """

    check: str
    level: Level
    found: str
    advice: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


def worst(findings: Iterable[Finding]) -> Level:
    """The highest level among findings."""
    levels = {finding.level for finding in findings}
    return "red" if "red" in levels else "yellow" if "yellow" in levels else "green"


def attempt(check: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """What `look` found, without secrets. What it raises is a red finding: one check that fails hides no other."""
    try:
        found = look()
    except Exception as error:  # whatever it is, the user is to see it among the rest
        advice = "Mend what the message names, and run the doctor again."
        found = [Finding(check=check, level="red", found=f"cannot be checked: {told(error)}", advice=advice)]
    return [dataclasses.replace(f, found=hidden(f.found), advice=hidden(f.advice), figures=_plain(f)) for f in found]


def _plain(finding: Finding) -> dict[str, Any]:
    return {hidden(k): hidden(v) if isinstance(v, str) else v for k, v in finding.figures.items()}


def told(error: BaseException) -> str:
    """An exception in one line."""
    lines = str(error).strip().splitlines()
    if isinstance(error, UsageError):  # made to be read as it is
        return str(error)
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def hidden(text: str) -> str:
    """`text` without names and passwords of URLs, signed parameters, and values of the environment's secrets."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and not PLACE_NAME.search(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    text = re.sub(r"://[^/\s]*@", "://", text)
    return re.sub(r"(?i)([?&][^=&\s]*(?:token|key|secret|password|sig|signature)=)[^&\s]+", r"\1***", text)


def size(count: float) -> str:
    """Bytes, as people say them."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1000 else f"{count:,.0f} TB"
