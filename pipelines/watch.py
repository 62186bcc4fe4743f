"""Watch runs on a live page: status, curves, samples over time, log.

    python -m pipelines.watch [RUN_or_RUNS_DIR]

The page is on this machine only, http://127.0.0.1:8080/, and reads the runs' folders every two seconds: runs that are
training, that have ended, and those of other machines on shared storage. It changes nothing. Ctrl-C ends it.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.config.config import home
from cyclegan_dist.errors import UsageError, run_command


@dataclass(frozen=True)
class Watch:
    """Watch runs on a live page."""

    folder: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN_or_RUNS_DIR")] = None
    """Folder of a run, or of runs. Default: runs."""
    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0: everybody who can reach this machine can watch."""
    port: int = 8080
    """Port to listen on; 0 takes a free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which the page is requested, besides localhost and the address of --host."""


def main() -> None:
    """Read the command line and serve the page."""
    command = parse_options(Watch, "watch", __doc__)
    folder = command.folder or home() / "runs"
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give that of a run, or the --runs_dir of the trainings")
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
