"""Whether and where a run's alerts are sent, and that nothing restarts it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclegan_dist.alerts.config import AlertSettings, alert_settings
from cyclegan_dist.config.config import Config
from cyclegan_dist.tracking.journal import append

NO_ALERTS = AlertSettings()


def alerts_of(config: Config) -> AlertSettings:
    """Where a run's alerts are sent; nowhere for a sweep's trials, of which failures are ordinary.

    Raises:
        UsageError: as `alert_settings`.
    """
    return NO_ALERTS if config.tracking.parent else alert_settings(config.alerts)


def restarts_follow() -> bool:
    """Whether torchrun will restart this rank, or its parent, if it fails."""
    count, most = (os.environ.get(f"TORCHELASTIC_{name}", "0") for name in ("RESTART_COUNT", "MAX_RESTARTS"))
    return int(count) < int(most)


@contextlib.contextmanager
def recording_failure(run_dir: Path, goes_on: tuple[type[Exception], ...]) -> Iterator[None]:
    """Append an exception that ends the training in this block to its journal. After those in `goes_on`, this launcher
    or another one continues it.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, goes_on) and not restarts_follow():
            try:
                append(run_dir, "gave_up", text=str(error) or type(error).__name__)
            except OSError as problem:
                print(f"no alert of the failure can be sent: {problem}", file=sys.stderr, flush=True)
        raise
