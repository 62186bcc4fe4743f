"""Watch runs on a live page, and send alerts of them.

    python -m pipelines.watch [RUN_or_RUNS_DIR]
    python -m pipelines.watch [RUN_or_RUNS_DIR] --alert [--no-page] [--alerts.webhook URL] [--alerts.email ADDRESS ...]
    python -m pipelines.watch --test-alert [--alerts.webhook URL] [--alerts.email ADDRESS ...]

The page is on this machine only, http://127.0.0.1:8080/, and reads the runs' folders every two seconds: runs that are
training, that have ended, and those of other machines on shared storage. It changes nothing. With --alert, a run that
has failed, stalled, collapsed or finished, or whose launcher was killed, is alerted of once. Ctrl-C ends it.
"""

import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from cyclegan_dist.alerts.config import VARIABLES, AlertsConfig, AlertSettings, alert_settings
from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.config.config import home
from cyclegan_dist.errors import UsageError, run_command


@dataclass(frozen=True)
class Watch:
    """Watch runs on a live page, and send alerts of them."""

    folder: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN_or_RUNS_DIR")] = None
    """Folder of a run, or of runs. Default: runs."""
    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0: everybody who can reach this machine can watch."""
    port: int = 8080
    """Port to listen on; 0 takes a free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which the page is requested, besides localhost and the address of --host."""
    page: bool = True
    """Serve the page. --no-page leaves the alerts alone."""
    alert: bool = False
    """Send alerts of the runs, each once. What has been sent is kept in .alerts in the folder."""
    alert_every: float = 30.0
    """Seconds after which a killed launcher is noticed, at the latest."""
    test_alert: bool = False
    """Send one alert to try the set-up, and end."""
    alerts: AlertsConfig = field(default_factory=AlertsConfig)


def main() -> int:
    """Read the command line, and serve the page or send alerts."""
    command = parse_options(Watch, "watch", __doc__)
    settings = _settings(command)
    if command.test_alert:
        return _send_test(settings)
    folder = command.folder or home() / "runs"
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give that of a run, or the --runs_dir of the trainings")
    if not command.alert:
        _serve(command, folder)
        return 0
    from cyclegan_dist.alerts.delivery import places
    from cyclegan_dist.watch.alerting import alerting, wait_for_signal

    stopped = threading.Event()
    with alerting(folder.absolute(), settings, command.alert_every, stopped):
        if command.page:
            _serve(command, folder)
        else:
            wait_for_signal(stopped, f"alerts of {folder} are sent to {places(settings)} (Ctrl-C ends it)")
    return 0


def _settings(command: Watch) -> AlertSettings:
    """Where alerts are sent, if they are.

    Raises:
        UsageError: if the options do not fit.
    """
    if not (command.alert or command.test_alert):
        if command.alerts != AlertsConfig():
            raise UsageError("options of alerts were given, but not --alert: give it, or leave them out")
        if not command.page:
            raise UsageError("--no-page without --alert: there is nothing to do")
        return AlertSettings()
    if not 0.1 <= command.alert_every <= 86_400:
        raise UsageError(f"--alert-every {command.alert_every}: give seconds, 0.1 to 86400")
    settings = alert_settings(command.alerts)
    if not settings.destinations:
        raise UsageError(
            f"nothing says where alerts are sent: give --alerts.webhook URL or --alerts.email ADDRESS, or set "
            f"{VARIABLES}WEBHOOK or {VARIABLES}EMAIL"
        )
    return settings


def _send_test(settings: AlertSettings) -> int:
    from cyclegan_dist.alerts.alert import Alert, identity
    from cyclegan_dist.alerts.delivery import places, send_now

    reason = "this is how alerts arrive; nothing has happened"
    failed = send_now(settings, Alert(id=identity(time.time_ns()), event="test", name="alerts", reason=reason), tries=1)
    if failed:
        raise UsageError("; ".join(failed))
    print(f"sent: {places(settings)}")
    return 0


def _serve(command: Watch, folder: Path) -> None:
    from cyclegan_dist.service.origins import AllowedHosts
    from cyclegan_dist.service.server import address, is_loopback, listen, run_until_signal
    from cyclegan_dist.watch.app import make_app

    with listen(command.host, command.port) as listener:
        if not is_loopback(listener):
            print(f"warning: anyone who can reach {command.host} can watch", file=sys.stderr)
        hosts = AllowedHosts.of(listener, (command.host, *command.allowed_hosts))
        text = f"watch {folder} at {address(listener)} (Ctrl-C ends it)"
        run_until_signal(make_app(folder.absolute(), hosts), listener, text)


if __name__ == "__main__":
    run_command(main)
