"""Check a cluster before a long training.

    python -m pipelines.doctor PRESET_or_YAML [--dotted.key value ...] [--no-network] [--json FILE]

Takes the options of cyclegan_dist.train, and checks the nodes of the cluster of RAY_ADDRESS, or this machine alone:
versions, GPUs, shared memory, shared storage, space for checkpoints, MLflow, who can run code there, and how fast the
nodes exchange gradients. Prints findings, green, yellow or red, with what to do. Ends with 0, or with 1 if one is red.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.networks.bounds import Gt
from cyclegan_dist.train import parse_with_training


@dataclass(frozen=True, kw_only=True)
class Command:
    """Check a cluster before a long training. Also takes all options of cyclegan_dist.train."""

    network: bool = True
    """Measure the network between the nodes; takes some seconds, and minutes if it fails."""
    timeout_s: Annotated[float, Gt(0)] = 15.0
    """Timeout of a data exchange between nodes, in seconds."""
    json: Path | None = None
    """File to write the findings to as well, with all figures."""


def doctor(command: Command, config: Config, *, local: bool) -> int:
    """Run all checks on this machine or on the cluster of RAY_ADDRESS, and print what they find. Returns the exit
    code.
    """
    # These load torch.
    from cyclegan_dist.operations.doctor.checks import Target, run_checks
    from cyclegan_dist.operations.doctor.hardware import gpus_here
    from cyclegan_dist.operations.doctor.nodes import LocalFleet
    from cyclegan_dist.operations.doctor.report import Report

    with Console(stderr=True).status("connecting ...") as status:
        report = Report(on_check=lambda name: status.update(f"{name} ..."))
        options = {"network": command.network, "timeout_s": command.timeout_s}
        if local:
            target = Target(fleet=LocalFleet(gpus_here()[1]))
            run_checks(target, config, report, **options)
        else:
            from cyclegan_dist.orchestration.probing import joined  # loads Ray

            with joined(report) as target:
                run_checks(target, config, report, **options)
    console = Console()
    console.print(report.table(f"{config.name} on {target.address or 'this machine'}"))
    console.print(report.closing(), markup=False, highlight=False)
    if command.json is not None:
        report.write_json(command.json)
    return int(report.level == "red")


def main() -> int:
    """Read the command line and run the checks. Returns the exit code."""
    command, training = parse_with_training(Command, "doctor", __doc__)
    if command.json is not None and not command.json.absolute().parent.is_dir():
        raise UsageError(f"--json {command.json}: make the folder {command.json.parent} first")
    local = training.launcher == "local" or not os.environ.get("RAY_ADDRESS")
    return doctor(command, training.config, local=local)


if __name__ == "__main__":
    run_command(main)
