"""Make a run's generators the champion, if they are better.

    python -m pipelines.promote RUN_DIR|RUN_ID --name NAME --data DATA [--split test] [--gate GATE.yaml] [--with-state]
        [--dry-run] [--alerts.webhook URL] [--alerts.email ADDRESS ...]
    python -m pipelines.promote --name NAME --rollback
    python -m pipelines.promote --name NAME --list

Candidate and champion are evaluated on the same images. Users then name the generators models:/NAME@champion. With
--with-state others can train them further, with their discriminators: --init_from models:/NAME@champion. What
pipelines.distill has trained must also be nearly as good as its teacher, and small. Exit code 1 if the candidate is
refused.
"""

from dataclasses import dataclass, field
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cyclegan_dist.alerts.config import AlertsConfig, AlertSettings, alert_settings
from cyclegan_dist.api import promote
from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.domain_names import legend
from cyclegan_dist.errors import UsageError, pipeline_command, run_command
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.registry.sources import read_store, store_in_use
from cyclegan_dist.step.world_config import Device


@dataclass(frozen=True)
class Promote:
    """Make a run's generators the registry's champion."""

    run: tyro.conf.Positional[str] = ""
    """Folder of the run, whose best snapshot is taken, or else the newest; or the id of its MLflow run."""
    name: str = ""
    """Name under which they are registered. By default that of a student's teacher, with -small."""
    data: str = ""
    """Data set of images that were not trained on."""
    split: str = ""
    """Subfolder of it to use, itself a data set."""
    gate: str = ""
    """YAML file: figure, better (lower or higher), margin, veto (findings), teacher_ratio and most_gmac."""
    dry_run: bool = False
    """Evaluate, and change nothing."""
    with_state: bool = False
    """Register the training state too: discriminators, averages and moments of Adam, for `init_from`."""
    rollback: bool = False
    """Make the champion before this one champion again."""
    list: bool = False
    """Show the versions."""
    device: Device = "auto"
    """cpu or cuda; auto takes a GPU if there is one."""
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    what: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = field(default_factory=EvaluationConfig)
    """Options of the evaluation."""


CONSOLE = Console()


def run(command: Promote) -> int:
    """Promote, roll back or list. Returns 1 if the candidate was refused."""
    alerts = alert_settings(command.alerts)
    if not command.name and (command.list or command.rollback or not command.run):
        raise UsageError("give --name, under which the generators are registered")
    if not (command.list or command.rollback):
        if not (command.run and command.data):
            example = f"{pipeline_command('promote')} RUN_DIR --name NAME --data DATA"
            raise UsageError(f"give a run's folder or id, and --data: {example}")
        return _promote(command, alerts)
    read_store()
    if command.list:
        _list(command.name)
    else:
        from cyclegan_dist.registry.versions import roll_back  # loads mlflow

        old, new = roll_back(command.name)
        print(f"{command.name} of {store_in_use()}: version {new} is champion again, version {old} is previous")
        if alerts.destinations:
            from cyclegan_dist.promotion.alert import alert_of_rollback

            alert_of_rollback(alerts, command.name, old, new)
    return 0


def _promote(command: Promote, alerts: AlertSettings) -> int:
    outcome = promote(
        command.run,
        command.data,
        name=command.name,
        split=command.split,
        gate=command.gate,
        dry_run=command.dry_run,
        with_state=command.with_state,
        device=command.device,
        **vars(command.what),
    )
    name = f"{outcome.name} of {store_in_use()}"
    if outcome.candidate is not None:
        if text := legend(outcome.candidate.names):
            print(f"domains: {text}")
        _compare(outcome.candidate.figures, outcome.before.figures if outcome.before else {})
    if not outcome.verdict.passed:
        print(f"refused for {name}: {outcome.verdict.reason}")
        print("train it further, or give another rule with --gate FILE (its keys: figure, better, margin, veto)")
        return 1
    if outcome.state_bytes:
        print(f"training state: {outcome.state_bytes / 1e6:.1f} MB")
    would = "would be promoted" if command.dry_run else f"version {outcome.champion} is champion"
    print(f"{name}: {would}: {outcome.verdict.reason}")
    if alerts.destinations and not command.dry_run:
        from cyclegan_dist.promotion.alert import alert_of_promotion

        alert_of_promotion(alerts, outcome)
    return 0


def _compare(candidate: dict, champion: dict) -> None:
    table = Table("figure", "candidate", "champion", box=None)
    for key, figure in candidate.items():
        theirs = f"{champion[key].value:.4g}" if key in champion else "none"
        table.add_row(key, f"{figure.value:.4g}", theirs)
    CONSOLE.print(table, soft_wrap=not CONSOLE.is_terminal)


def _list(name: str) -> None:
    from cyclegan_dist.registry.versions import list_versions

    versions = list_versions(name)
    domains = {v.number: ", ".join(v.tags[key] for key in ("domain.A", "domain.B") if key in v.tags) for v in versions}
    named = any(domains.values())
    table = Table("version", "aliases", *(["domains"] * named), "images", "promoted", "why", box=None)
    for version in versions:
        tags, own = version.tags, [Text(domains[version.number])] * named
        aliases, why = " ".join(version.aliases), tags.get("reason", "")
        table.add_row(version.number, aliases, *own, tags.get("nimg", ""), tags.get("promoted", ""), why)
    CONSOLE.print(table, soft_wrap=not CONSOLE.is_terminal)


def main() -> int:
    """Read the command line and promote."""
    return run(parse_options(Promote, "promote", __doc__))


if __name__ == "__main__":
    run_command(main)
