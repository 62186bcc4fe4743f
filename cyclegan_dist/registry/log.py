"""The log of a registered name: who promoted, proposed, confirmed, refused or rolled back what, when and why.

Its entries are tags of a registered model NAME--log, which has no versions: every MLflow store keeps such tags, and the
log outlives NAME. An entry is JSON with its own sha256 and that of the entry before, so that a changed, removed or
inserted one shows. Whether two people are needed, and what is proposed, is read from the log too.
"""

import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

from mlflow import MlflowClient

from cyclegan_dist.errors import UsageError
from cyclegan_dist.registry.author import Author
from cyclegan_dist.registry.versions import LOG_SUFFIX, registry_errors

_KEY = "entry."  # and its number
_LONGEST = 5000  # characters of a registered model's tag in MLflow's databases
_LONGEST_VERDICT = 1500


class Event(StrEnum):
    """What an entry records."""

    PROMOTED = "promoted"
    PROPOSED = "proposed"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    ROLLED_BACK = "rolled back"
    FOUR_EYES_ON = "four eyes on"
    FOUR_EYES_OFF = "four eyes off"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of the log.

    Attributes:
        number: from 1 on.
        time: UTC.
        event: what was done, or refused.
        user: who did it.
        signed_in: whether MLflow's server had signed them in; otherwise the name is a claim.
        version: that became champion, was proposed or withdrawn; empty for a candidate that was not registered.
        champion: version that was champion before; empty if there was none.
        reason: in the user's words.
        verdict: in the gate's, or why it was refused.
        snapshot: digest of the generators.
        confirms: sha256 of the entry of the proposal that this one confirms.
        rule: of a proposal, what its confirmation must evaluate again: gate, options, digest and place of the images.
        before: sha256 of the entry before; empty for the first one.
        sha256: of all other fields.
    """

    number: int
    time: str
    event: Event
    user: str
    signed_in: bool = False
    version: str = ""
    champion: str = ""
    reason: str = ""
    verdict: str = ""
    snapshot: str = ""
    confirms: str = ""
    rule: Mapping[str, Any] = field(default_factory=dict)
    before: str = ""
    sha256: str = ""

    def digest(self) -> str:
        """The sha256 that its other fields have."""
        fields = {key: value for key, value in dataclasses.asdict(self).items() if key != "sha256"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @property
    def moves(self) -> bool:
        """Whether `champion` was about to be pointed at its version."""
        return self.event in (Event.PROMOTED, Event.ROLLED_BACK)


class PromotionLog:
    """The log of the registered model `name`. Its methods raise UsageError if MLflow fails."""

    def __init__(self, name: str):
        self.name, self.model, self._client = name, f"{name}{LOG_SUFFIX}", MlflowClient()

    def read(self) -> list[Entry]:
        """All entries, oldest first.

        Raises:
            UsageError: if one was changed or is missing.
        """
        entries, problems = self.examine()
        if problems:
            raise UsageError(
                f"the promotion log of {self.name} was changed: {problems[0]}; find out who did, then save the tags of "
                f"the registered model {self.model} and delete it, which begins a new log without --four-eyes"
            )
        return entries

    def examine(self) -> tuple[list[Entry], list[str]]:
        """All entries that can be read, and a sentence for each that was changed or is missing."""
        with registry_errors():
            found = self._client.search_registered_models(f"name = '{self.model}'")
        tags = found[0].tags if found else {}
        entries, problems = list[Entry](), list[str]()
        for key in sorted(key for key in tags if key.startswith(_KEY)):
            try:
                entries.append(_entry_of(json.loads(tags[key])))
            except (ValueError, TypeError, KeyError) as error:
                problems.append(f"{key} is no entry: {error}")
        problems += _breaks(entries)
        if found and not entries and not problems:
            problems.append("it has no entries")
        return entries, problems

    def append(self, event: Event, author: Author, *, verdict: str = "", **fields: Any) -> Entry:
        """Write an entry. Call it while `Registered.alone` holds.

        Raises:
            UsageError: also if the log was changed, or the entry is too long.
        """
        entries = self.read()
        blank = Entry(
            number=len(entries) + 1,
            time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            event=event,
            user=author.user,
            signed_in=author.signed_in,
            reason=author.reason,
            verdict=verdict if len(verdict) <= _LONGEST_VERDICT else f"{verdict[:_LONGEST_VERDICT]}...",
            before=entries[-1].sha256 if entries else "",
            **fields,
        )
        entry = dataclasses.replace(blank, sha256=blank.digest())
        text = json.dumps(dataclasses.asdict(entry))
        if len(text) > _LONGEST:
            raise UsageError(
                f"the entry in the promotion log would have {len(text)} characters, more than the {_LONGEST} that "
                "MLflow keeps: give a shorter --reason"
            )
        with registry_errors():
            key = f"{_KEY}{entry.number:06d}"
            if entries:
                self._client.set_registered_model_tag(self.model, key, text)
            else:  # in one call, since a log without entries is one whose entries were deleted
                about = f"Log of the promotions of {self.name}: promote --name {self.name} --log shows and checks it."
                self._client.create_registered_model(self.model, {key: text}, about)
        return entry


def _entry_of(fields: Any) -> Entry:
    """Raises ValueError, TypeError or KeyError for what is none."""
    entry = Entry(**{**fields, "event": Event(fields["event"])})
    kinds = {"number": int, "signed_in": bool, "rule": dict}
    for name, value in dataclasses.asdict(entry).items():
        if not isinstance(value, kinds.get(name, str)):
            raise TypeError(f"{name} is of another type")
    return entry


def _breaks(entries: Sequence[Entry]) -> Iterator[str]:
    """Where the chain of hashes does not fit."""
    before = ""
    for number, entry in enumerate(entries, start=1):
        if entry.number != number:
            yield f"entry {number} is missing"
            return
        if entry.sha256 != entry.digest():
            yield f"entry {number} is not what was written"
        if entry.before != before:
            yield f"entry {number} does not follow the one that is before it now"
        before = entry.sha256


def problems_with(entries: Sequence[Entry], champion: str, known: str = "") -> list[str]:
    """What does not fit in a log whose entries are as they were written: a sentence for each time that `champion` was
    moved, or was not, otherwise than it says.

    Args:
        entries: of the log, oldest first.
        champion: version that is champion now; empty if none is.
        known: sha256 of an entry, or its beginning, that should be there.

    Raises:
        UsageError: if `known` is none.
    """
    found, moves = list[str](), [entry for entry in entries if entry.moves]
    if known and not re.fullmatch("[0-9a-f]{8,64}", known):
        raise UsageError(f"--known {known}: give 8 to 64 digits of an entry's sha256, as --log prints it")
    if known and not any(entry.sha256.startswith(known) for entry in entries):
        found.append(f"it has no entry {known}: entries were removed, or all were written anew")
    for entry, after in pairwise(moves):
        if after.champion not in (entry.version, entry.champion):
            found.append(
                f"entry {after.number} found version {after.champion or 'none'} as champion, but entry {entry.number} "
                f"had made it {entry.version}: it was moved without an entry"
            )
    if moves and champion != moves[-1].version:
        killed = "its process ended before it did, or " if champion == moves[-1].champion else ""
        found.append(
            f"champion is version {champion or 'none'}, but entry {moves[-1].number} made it {moves[-1].version}: "
            f"{killed}it was moved without an entry"
        )
    return found
