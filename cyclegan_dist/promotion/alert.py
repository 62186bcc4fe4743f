"""The alert that an alias of the registry has moved."""

import sys
import time

from cyclegan_dist.alerts.alert import Alert, identity
from cyclegan_dist.alerts.config import AlertSettings
from cyclegan_dist.alerts.delivery import send_now
from cyclegan_dist.registry.sources import store_in_use
from cyclegan_dist.registry.versions import CHAMPION


def alert_of_promotion(settings: AlertSettings, name: str, version: str, reason: str) -> None:
    """Send an alert that `version` of the registered `name` is champion now. A destination that does not take it is a
    warning: the alias has moved.
    """
    facts = {"model": f"models:/{name}/{version}", "alias": CHAMPION, "version": version, "registry": store_in_use()}
    told = f"version {version} is {CHAMPION}: {reason}"
    number = identity(*facts.values(), time.time_ns())  # a version may be promoted again
    alert = Alert(id=number, event="promoted", name=name, reason=told, facts=facts)
    for failure in send_now(settings, alert):
        print(f"warning: {failure}", file=sys.stderr, flush=True)
