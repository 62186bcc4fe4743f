"""The alert that an alias of the registry has moved."""

import calendar
import sys
import time
from collections.abc import Mapping

from cyclegan_dist.alerts.alert import Alert, identity
from cyclegan_dist.alerts.config import AlertSettings
from cyclegan_dist.alerts.delivery import MAX_AGE_S, send_now
from cyclegan_dist.errors import UsageError
from cyclegan_dist.promotion.promote import PROMOTED, PROMOTED_FORMAT, PromotionResult
from cyclegan_dist.registry.sources import store_in_use
from cyclegan_dist.registry.versions import CHAMPION, Registered

ALERTED = "alerted"  # tag of a version: its tag `promoted` when the alert was taken


def alert_of_promotion(settings: AlertSettings, outcome: PromotionResult) -> None:
    """Send an alert of a promotion that has moved the alias; or of one that did so within a day, if its alert was not
    taken by all, or its process was killed before. A proposal sends none. What fails is a warning: the alias has moved.
    """
    if outcome.proposed:
        return
    try:
        registered = Registered(outcome.name)
        tags = next(one.tags for one in registered.versions() if one.number == outcome.champion)
        if not (outcome.moved or _is_missing(tags)):
            return
        reason = outcome.verdict.reason if outcome.moved else tags.get("reason", "")
        if _send(settings, outcome.name, outcome.champion, reason, tags.get(PROMOTED, "")):
            registered.tag(outcome.champion, ALERTED, tags.get(PROMOTED, ""))
    except UsageError as error:
        print(f"warning: no alert is sent, or it may be sent again: {error}", file=sys.stderr, flush=True)


def alert_of_rollback(settings: AlertSettings, name: str, old: str, new: str) -> None:
    """Send an alert that version `new` of a registered name is champion again, after `old`."""
    _send(settings, name, new, f"rolled back from version {old}", time.time_ns())


def _send(settings: AlertSettings, name: str, version: str, reason: str, moment: object) -> bool:
    """Whether all destinations took the alert; `moment` tells it from other moves to the same version."""
    facts = {"model": f"models:/{name}/{version}", "alias": CHAMPION, "version": version, "registry": store_in_use()}
    told = f"version {version} is {CHAMPION}: {reason}"
    alert = Alert(id=identity(*facts.values(), moment), event="promoted", name=name, reason=told, facts=facts)
    failures = send_now(settings, alert)
    for failure in failures:
        print(f"warning: {failure}", file=sys.stderr, flush=True)
    return not failures


def _is_missing(tags: Mapping[str, str]) -> bool:
    promoted = tags.get(PROMOTED, "")
    if not promoted or tags.get(ALERTED) == promoted:
        return False
    try:
        moved = calendar.timegm(time.strptime(promoted, PROMOTED_FORMAT))
    except ValueError:  # a tag that was edited by hand
        return False
    return time.time() - moved < MAX_AGE_S
