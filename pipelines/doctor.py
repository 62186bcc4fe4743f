"""Before a night's run: is the cluster fit for it?

    python -m pipelines.doctor PRESET_or_YAML [--dotted.key value ...] [--no-network] [--json FILE]

Takes what cyclegan_dist.train takes, and looks at the nodes of the cluster of RAY_ADDRESS, or at this machine alone:
versions, GPUs, clocks, shared storage, room for checkpoints, MLflow, who may run code there, and how fast the nodes
exchange gradients. One line for each finding, green, yellow or red. Ends with 0, or with 1 if a line is red.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Gt
from rich.console import Console

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError, run_command
from cyclegan_dist.train import parse_with_training

if TYPE_CHECKING:
    from cyclegan_dist.operations.doctor.examination import Target


@dataclass(frozen=True, kw_only=True)
class Command:
    """Is the cluster fit for a night's run? Besides these, options of cyclegan_dist.train are taken."""

    network: bool = True
    """Measure the links between the nodes: some seconds for each round of pairs."""
    timeout_s: Annotated[float, Gt(0)] = 15.0
    """Seconds after which two nodes cannot talk."""
    json: Path | None = None
    """File to write the findings to as well, with all figures."""


def doctor(command: Command, config: Config, *, alone: bool) -> int:
    """Examine, and say what was found. Returns 1 if something is red, else 0."""
    from cyclegan_dist.operations.doctor.examination import checks  # torch is loaded from here on
    from cyclegan_dist.operations.doctor.findings import attempt, worst
    from cyclegan_dist.operations.doctor.report import closing, table, write_json

    findings = []
    with _patient(config, alone) as patient, Console(stderr=True).status("looking at the nodes ...") as status:
        for name, look in checks(patient, network=command.network, timeout_s=command.timeout_s):
            status.update(f"{name} ...")
            findings += attempt(name, look)
    console = Console()
    console.print(table(findings, f"{config.name} on {patient.address or 'this machine'}"))
    console.print(closing(findings), markup=False, highlight=False)
    if command.json is not None:
        write_json(findings, command.json)
    return int(worst(findings) == "red")


@contextlib.contextmanager
def _patient(config: Config, alone: bool) -> Iterator["Target"]:
    """The cluster of RAY_ADDRESS, joined for the block, or this machine."""
    if alone:
        from cyclegan_dist.operations.doctor.examination import Target
        from cyclegan_dist.operations.doctor.fleet import Alone
        from cyclegan_dist.operations.doctor.hardware import gpus_here

        yield Target(config=config, fleet=Alone(gpus_here()[1]))
        return
    from cyclegan_dist.orchestration.probing import patient  # Ray is loaded from here on

    with patient(config) as found:
        yield found


def main() -> int:
    """Read the command line and examine. Returns the exit code."""
    command, training = parse_with_training(Command, "doctor", __doc__)
    if command.json is not None and not command.json.absolute().parent.is_dir():
        raise UsageError(f"--json {command.json}: there is no folder {command.json.parent}")
    alone = training.launcher == "local" or not os.environ.get("RAY_ADDRESS")
    return doctor(command, training.config, alone=alone)


if __name__ == "__main__":
    run_command(main)
