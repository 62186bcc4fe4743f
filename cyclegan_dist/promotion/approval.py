"""Promotions that need two people, and all changes of a name that evaluate nothing: rollback, withdrawal, four eyes."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from cyclegan_dist.config.config import home
from cyclegan_dist.errors import UsageError, pipeline_command
from cyclegan_dist.registry.author import Author, find_author
from cyclegan_dist.registry.log import Entry, Event, PromotionLog
from cyclegan_dist.registry.sources import store_in_use
from cyclegan_dist.registry.versions import CHAMPION, PREVIOUS, Registered

OFF = "off"  # stands for a version where it is proposed to need one person only


@dataclass(frozen=True)
class Approval:
    """Whether promotions of a name need two people, and what waits for the second.

    Attributes:
        four_eyes: whether a second person must confirm.
        proposal: entry of the log that waits for that; of `FOUR_EYES_OFF`, its version is `OFF`.
    """

    four_eyes: bool = False
    proposal: Entry | None = None

    def problem_of(self, version: str, champion: str, author: Author) -> str:
        """Why `author` cannot confirm `version`; empty if they can.

        Args:
            version: that they want to confirm, or `OFF`.
            champion: version that is champion now; empty if none is.
            author: of the confirmation.
        """
        proposal = self.proposal
        if proposal is None:
            return "nothing is proposed"
        if proposal.version != version:
            return f"version {proposal.version} is proposed, not {version}: look at it with --list, then name it"
        if author.is_same_user(proposal.user):
            return f"{author.user} has proposed it: another user must confirm it"
        if proposal.signed_in and not author.signed_in:
            return "its proposer was signed in by MLflow's server: sign in too, with MLFLOW_TRACKING_USERNAME"
        if author.signed_in and not proposal.signed_in:  # who may be this user, under a name that nobody checked
            return f"its proposer, {proposal.user}, was not signed in by MLflow's server: sign in and propose it again"
        if version != OFF and champion != proposal.champion:
            return (
                f"the proposal is outdated: champion was version {proposal.champion or 'none'} and is "
                f"{champion or 'none'} now: propose it again"
            )
        return ""


def approval_of(entries: Sequence[Entry], champion: str) -> Approval:
    """What the log says of a name.

    Args:
        entries: of the log, oldest first.
        champion: version that is champion now: a confirmation that was killed before it moved the alias still waits.
    """
    four_eyes, proposal = False, None
    newest = next((entry for entry in reversed(entries) if entry.event != Event.REFUSED), None)
    for entry in entries:
        match entry.event:
            case Event.FOUR_EYES_ON:
                four_eyes, proposal = True, None
            case Event.FOUR_EYES_OFF:
                four_eyes, proposal = False, None
            case Event.PROPOSED:
                proposal = entry
            case Event.WITHDRAWN:
                proposal = None
            case Event.PROMOTED:
                killed = entry is newest and champion == entry.champion != entry.version
                if not (killed and proposal and entry.confirms == proposal.sha256):
                    proposal = None
            case _:
                pass
    return Approval(four_eyes, proposal)


def approval(name: str) -> Approval:
    """That of a registered name now.

    Raises:
        UsageError: if MLflow cannot be reached, or the log was changed.
    """
    return approval_of(PromotionLog(name).read(), Registered(name).aliases().get(CHAMPION, ""))


def place_of(proposal: Entry) -> str:
    """The data set that the version was evaluated on, as the one who proposed it has it; DATA if that is not known."""
    return proposal.rule.get("place", "DATA")


def confirm_command(name: str, version: str, data: str = "DATA", split: str = "") -> str:
    """What the second person types: with the data set, and its part, that the version was evaluated on."""
    part = f" --split {shlex.quote(split)}" if split else ""
    data = "" if version == OFF else f" --data {shlex.quote(data)}{part}"
    return f"{pipeline_command('promote')} --name {name} --confirm {version}{data}"


def rules_of(proposal: Entry) -> str:
    """The gate and the options of a proposal where they are not the default ones, for the second person, who promotes
    by them; empty if they are.
    """
    from cyclegan_dist.evaluation.config import EvaluationConfig  # these load torch
    from cyclegan_dist.promotion.gate import Gate

    usual = json.loads(json.dumps({"gate": asdict(Gate()), "what": asdict(EvaluationConfig())}))
    return ", ".join(
        f"{key}={json.dumps(value)}"
        for part, defaults in usual.items()
        for key, value in proposal.rule.get(part, {}).items()
        if key not in defaults or value != defaults[key]
    )


def roll_back(name: str, author: Author | None = None) -> tuple[str, str]:
    """Make the previous champion champion again. Returns the version that was and the one that is. One person may do
    it, also of a name that needs two: what it goes back to has been promoted.

    Raises:
        UsageError: if there is none, or MLflow cannot be reached.
    """
    registered, log, author = Registered(name), PromotionLog(name), author or find_author()
    with registered.alone(home()):
        aliases, entries = registered.aliases(), log.read()
        old, new = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        if not old or not new or old == new:
            raise UsageError(
                f"{name} of {store_in_use()} has no champion before this one: there is nothing to roll back to"
            )
        if approval_of(entries, old).four_eyes and new not in _once_champions(entries):
            log.append(Event.REFUSED, author, version=new, champion=old, verdict="previous was moved without an entry")
            raise UsageError(
                f"{name} needs two people, and previous names version {new}, which the log does not know as a "
                f"champion: promote it with {pipeline_command('promote')} RUN_DIR --name {name} --data DATA"
            )
        registered.refuse_lost_lock()
        log.append(Event.ROLLED_BACK, author, version=new, champion=old)
        registered.point(CHAMPION, new)
        registered.point(PREVIOUS, old)
    return old, new


def _once_champions(entries: Sequence[Entry]) -> set[str]:
    """Versions that were made champion by the log, and the one that was it when the log began."""
    return {entry.version for entry in entries if entry.moves} | {entry.champion for entry in entries[:1]}


def withdraw(name: str, version: str, author: Author | None = None) -> Entry:
    """Take a proposal back, or turn it down. Returns its entry.

    Args:
        name: registered name.
        version: that is proposed, or `OFF`.
        author: the user, with a reason.

    Raises:
        UsageError: if it is not proposed, or MLflow cannot be reached.
    """
    registered, log, author = Registered(name), PromotionLog(name), author or find_author()
    with registered.alone(home()):
        champion = registered.aliases().get(CHAMPION, "")
        proposal = approval_of(log.read(), champion).proposal
        if proposal is None or proposal.version != version:
            raise UsageError(f"version {version} of {name} is not proposed: --list shows what is")
        log.append(Event.WITHDRAWN, author, version=version, champion=champion, confirms=proposal.sha256)
    return proposal


def set_four_eyes(name: str, *, on: bool, author: Author | None = None) -> Approval:
    """Have promotions of a name need two people, for everybody who uses the registry. One person turns it on; to turn
    it off is proposed, and needs the second. Returns what holds now.

    Raises:
        UsageError: if it is so already, or MLflow cannot be reached.
    """
    registered, log, author = Registered(name), PromotionLog(name), author or find_author()
    with registered.alone(home()):
        champion = registered.aliases().get(CHAMPION, "")
        now = approval_of(log.read(), champion)
        if now.four_eyes == on:
            raise UsageError(f"promotions of {name} need {'two people' if on else 'one person'} already")
        if on:
            log.append(Event.FOUR_EYES_ON, author, champion=champion)
        elif now.proposal is not None:
            other = now.proposal.version
            raise UsageError(
                f"version {other} of {name} is proposed: confirm it, or take it back with --withdraw {other}"
            )
        else:
            log.append(Event.PROPOSED, author, version=OFF, champion=champion)
        return approval_of(log.read(), champion)


def confirm_off(name: str, author: Author | None = None) -> None:
    """As the second person, have promotions of a name need one person only.

    Raises:
        UsageError: if it is not proposed, or by the same user, or MLflow cannot be reached.
    """
    registered, log, author = Registered(name), PromotionLog(name), author or find_author()
    with registered.alone(home()):
        champion = registered.aliases().get(CHAMPION, "")
        now = approval_of(log.read(), champion)
        refuse_unconfirmable(log, now, OFF, champion, author)
        log.append(Event.FOUR_EYES_OFF, author, version=OFF, champion=champion, **confirmed(now))


def refuse_unconfirmable(log: PromotionLog, now: Approval, version: str, champion: str, author: Author) -> None:
    """Refuse a confirmation, with an entry where something is proposed, or do nothing. Arguments as of `problem_of`.

    Raises:
        UsageError: saying why.
    """
    if problem := now.problem_of(version, champion, author):
        if now.proposal is not None:
            log.append(Event.REFUSED, author, version=version, champion=champion, verdict=problem)
        raise UsageError(f"version {version} of {log.name} is not confirmed: {problem}")


def confirmed(now: Approval) -> Mapping[str, str]:
    """The field of an entry that names the proposal it confirms, if there is one."""
    return {"confirms": now.proposal.sha256} if now.proposal else {}
