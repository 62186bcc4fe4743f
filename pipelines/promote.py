"""Make a run's generators the champion, if they are better.

    python -m pipelines.promote RUN_DIR|RUN_ID --name NAME --data DATA [--split test] [--gate GATE.yaml] [--with-state]
        [--reason TEXT] [--dry-run] [--alerts.webhook URL] [--alerts.email ADDRESS ...]
    python -m pipelines.promote --name NAME --confirm VERSION --data DATA [--split test] [--reason TEXT]
    python -m pipelines.promote --name NAME --withdraw VERSION [--reason TEXT]
    python -m pipelines.promote --name NAME --rollback [--reason TEXT]
    python -m pipelines.promote --name NAME --four-eyes on|off
    python -m pipelines.promote --name NAME --list
    python -m pipelines.promote --name NAME --log [--known SHA256]

Candidate and champion are evaluated on the same images. Users then name the generators models:/NAME@champion. With
--with-state others can train them further, with their discriminators: --init_from models:/NAME@champion. What
pipelines.distill has trained must also be nearly as good as its teacher, and small. Where --four-eyes is on, a
promotion is a proposal that another user confirms. --log shows who did what, and checks that no entry was changed. Exit
code 1 if the candidate is refused, or the log does not match.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cyclegan_dist.alerts.config import AlertsConfig, AlertSettings, alert_settings
from cyclegan_dist.api import promote
from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.data.domain_names import legend
from cyclegan_dist.data.files import printable
from cyclegan_dist.data.location import data_path
from cyclegan_dist.errors import UsageError, pipeline_command, run_command
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.registry.sources import read_store, store_in_use
from cyclegan_dist.step.world_config import Device

if TYPE_CHECKING:
    from cyclegan_dist.promotion.promote import PromotionResult


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
    reason: str = ""
    """Why, in your words: kept with the version and in the log."""
    user: str = ""
    """Your name, where MLflow's server does not sign users in. By default MLFLOW_TRACKING_USERNAME, or else the name
    of the system's user."""
    rollback: bool = False
    """Make the champion before this one champion again."""
    confirm: str = ""
    """Version that another user has proposed: evaluate it again as then, and make it champion. off: have promotions
    need one person again."""
    withdraw: str = ""
    """Version whose proposal is taken back or turned down; off: as for confirm."""
    four_eyes: Literal["", "on", "off"] = ""
    """on: promotions of this name need two users, for everybody who uses the registry. off: proposes that they need
    one, which another user confirms with `--confirm off`."""
    list: bool = False
    """Show the versions, and what is proposed."""
    log: bool = False
    """Show who promoted, proposed, confirmed, refused or rolled back what, and check the log."""
    known: str = ""
    """With --log: sha256 of an entry, or its first 8 digits or more, that must be in the log."""
    device: Device = "auto"
    """cpu or cuda; auto takes a GPU if there is one."""
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    what: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = field(default_factory=EvaluationConfig)
    """Options of the evaluation."""


CONSOLE = Console()


def run(command: Promote) -> int:
    """Do the one thing that is asked for. Returns 1 if a candidate was refused, or the log does not match."""
    asked = {
        "a run": command.run,
        "--rollback": command.rollback,
        "--confirm": command.confirm,
        "--withdraw": command.withdraw,
        "--four-eyes": command.four_eyes,
        "--list": command.list,
        "--log": command.log,
    }
    chosen = [name for name, value in asked.items() if value]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)}: give one of them")
    if command.known and not command.log:
        raise UsageError("--known: give --log too")
    if not command.name and chosen != ["a run"]:
        raise UsageError("give --name, under which the generators are registered")
    if not chosen or (command.run and not command.data):
        example = f"{pipeline_command('promote')} RUN_DIR --name NAME --data DATA"
        raise UsageError(f"give a run's folder or id, and --data: {example}")
    alerts = alert_settings(command.alerts)
    if command.run:
        return _promote(command, alerts)
    if command.dry_run:
        raise UsageError(f"--dry-run and {chosen[0]}: it goes with a run only")
    if command.confirm not in ("", "off"):
        return _confirm(command, alerts)
    read_store()
    if command.list:
        _list(command.name)
    elif command.log:
        return _log(command.name, command.known)
    else:
        print(f"{command.name} of {store_in_use()}: {_change(command, alerts)}")
    return 0


def _change(command: Promote, alerts: AlertSettings) -> str:
    """Change what needs no evaluation. Returns what holds now."""
    from cyclegan_dist.promotion import approval  # these load mlflow
    from cyclegan_dist.registry.author import find_author

    name, author = command.name, find_author(command.user, command.reason)
    if command.rollback:
        old, new = approval.roll_back(name, author)
        if alerts.destinations:
            from cyclegan_dist.promotion.alert import alert_of_rollback

            alert_of_rollback(alerts, name, old, new)
        return f"version {new} is champion again, version {old} is previous"
    if command.withdraw:
        proposal = approval.withdraw(name, command.withdraw, author)
        return f"the proposal of version {proposal.version} by {proposal.user} is withdrawn"
    if command.confirm:
        approval.confirm_off(name, author)
    elif approval.set_four_eyes(name, on=command.four_eyes == "on", author=author).proposal is not None:
        told = approval.confirm_command(name, approval.OFF)
        return f"proposed by {author.user}: one person instead of two; another user confirms it with {told}"
    return f"promotions need {'one person' if command.confirm else 'two users, of whom the second confirms'}"


def _confirm(command: Promote, alerts: AlertSettings) -> int:
    if not command.data:
        raise UsageError("--confirm: give --data, the data set that the proposal was evaluated on")
    if command.gate or command.with_state or command.what != EvaluationConfig():
        raise UsageError("--confirm evaluates by the gate and the options of the proposal: leave out others")
    location = data_path(command.data, command.split)
    read_store()
    # These load torch and mlflow.
    from cyclegan_dist.promotion.confirmation import confirm
    from cyclegan_dist.registry.author import find_author
    from cyclegan_dist.step import distributed

    author = find_author(command.user, command.reason)
    outcome = confirm(command.name, command.confirm, location, distributed.join(command.device), author)
    return _report(command, outcome, alerts)


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
        user=command.user,
        reason=command.reason,
        **vars(command.what),
    )
    return _report(command, outcome, alerts)


def _report(command: Promote, outcome: "PromotionResult", alerts: AlertSettings) -> int:
    name = f"{outcome.name} of {store_in_use()}"
    if outcome.candidate is not None:
        if text := legend(outcome.candidate.names):
            print(f"domains: {text}")
        _compare(outcome.candidate.figures, outcome.before.figures if outcome.before else {})
    if not outcome.verdict.passed:
        print(f"refused for {name}: {outcome.verdict.reason}")
        if command.confirm:
            print(f"it stays proposed: confirm it again, or take it back with --withdraw {command.confirm}")
        else:
            print("train it further, or give another rule with --gate FILE (its keys: figure, better, margin, veto)")
        return 1
    if outcome.state_bytes:
        print(f"training state: {outcome.state_bytes / 1e6:.1f} MB")
    would = "would be promoted" if command.dry_run else f"version {outcome.champion} is champion"
    if outcome.proposed:
        would = f"version {outcome.proposed} is proposed"
    print(f"{name}: {would}: {outcome.verdict.reason}")
    if alerts.destinations and not command.dry_run:
        from cyclegan_dist.promotion.alert import alert_of_promotion

        alert_of_promotion(alerts, outcome)
    if outcome.proposed:
        from cyclegan_dist.promotion.approval import confirm_command

        told = confirm_command(outcome.name, outcome.proposed, command.data, command.split)
        print(f"another user confirms it: {told}")
    return 0


def _compare(candidate: dict, champion: dict) -> None:
    table = Table("figure", "candidate", "champion", box=None)
    for key, figure in candidate.items():
        theirs = f"{champion[key].value:.4g}" if key in champion else "none"
        table.add_row(key, f"{figure.value:.4g}", theirs)
    CONSOLE.print(table, soft_wrap=not CONSOLE.is_terminal)


def _list(name: str) -> None:
    from cyclegan_dist.promotion.approval import approval, confirm_command, place_of, rules_of  # these load mlflow
    from cyclegan_dist.registry.versions import list_versions

    versions, now = list_versions(name), approval(name)
    domains = {v.number: ", ".join(v.tags[key] for key in ("domain.A", "domain.B") if key in v.tags) for v in versions}
    named = any(domains.values())
    columns = ("version", "aliases", *(["domains"] * named), "images", Column("promoted", no_wrap=True), "by", "why")
    table = Table(*columns, box=None)
    for version in versions:
        tags, own = version.tags, [Text(domains[version.number])] * named
        why = "; ".join(tags[key] for key in ("reason", "proposed_reason", "promoted_reason") if key in tags)
        by = " and ".join(dict.fromkeys(tags[key] for key in ("proposed_by", "promoted_by") if key in tags))
        cells = (tags.get("nimg", ""), tags.get("promoted", ""), Text(printable(by)), Text(printable(why)))
        table.add_row(version.number, " ".join(version.aliases), *own, *cells)
    CONSOLE.print(table, soft_wrap=not CONSOLE.is_terminal)
    if now.four_eyes:
        print("promotions need two users")
    if (proposal := now.proposal) is not None:
        what = "one person instead of two" if not proposal.rule else f"version {proposal.version}"
        why = printable(proposal.reason or "no reason given")
        print(f"proposed by {printable(proposal.user)} at {proposal.time}: {what}: {why}")
        if rules := rules_of(proposal):
            print(f"by rules of its own: {printable(rules)}")
        print(f"another user confirms it: {confirm_command(name, proposal.version, place_of(proposal))}")


def _log(name: str, known: str) -> int:
    from cyclegan_dist.registry.log import PromotionLog, problems_with  # these load mlflow
    from cyclegan_dist.registry.versions import CHAMPION, Registered

    entries, problems = PromotionLog(name).examine()
    problems += problems_with(entries, Registered(name).aliases().get(CHAMPION, ""), known)
    for entry in entries:
        what = "confirmed" if entry.event == "promoted" and entry.confirms else entry.event
        off = " four eyes off" if entry.event != "four eyes off" else ""
        version = (off if entry.version == "off" else f" version {printable(entry.version)}") if entry.version else ""
        was = f", champion was {printable(entry.champion)}" if entry.champion else ""
        by = f"{printable(entry.user)}{'' if entry.signed_in else ' (not signed in)'}"
        when, sha256 = printable(entry.time), printable(entry.sha256[:16])
        print(f"{entry.number}  {when}  {what}{version} by {by}{was}  sha256 {sha256}")
        for why in filter(None, (entry.verdict, entry.reason)):
            print(f"   {printable(why)}")
    for problem in problems:
        print(f"problem: {problem}")
    where = f"the log of {name} in {store_in_use()}"
    if problems:
        print(f"{where} does not match what was done")
        return 1
    if not entries:
        print(f"{where} has no entries")
        return 0
    print(f"{len(entries)} entries, each with the sha256 of the one before; the last is {entries[-1].sha256}")
    return 0


def main() -> int:
    """Read the command line and promote."""
    return run(parse_options(Promote, "promote", __doc__))


if __name__ == "__main__":
    run_command(main)
