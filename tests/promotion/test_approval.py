"""Who promotes, the log of it, and promotions that need two people, in a real MLflow store."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from pipelines import promote
from tests.conftest import Answer, make_dataset
from tests.promotion.setting import Setting, promoting
from tests.training.trainings import ALONE, go

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::Warning", "ignore::ResourceWarning")]  # MLflow's


@pytest.fixture
def store(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an empty store."""
    import mlflow

    from cyclegan_dist.registry.sources import use_store

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{own_home}/mlflow.db")
    mlflow.set_tracking_uri(use_store())
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(None)


def anna(reason: str = "") -> Any:
    from cyclegan_dist.registry.author import Author

    return Author("anna", reason)


def ben() -> Any:
    return dataclasses.replace(anna(), user="ben")


def events(name: str = "horses") -> list[str]:
    from cyclegan_dist.registry.log import PromotionLog

    return [f"{entry.event} {entry.version} {entry.user}" for entry in PromotionLog(name).read()]


def test_a_changed_or_removed_entry_shows(store: Any) -> None:
    from cyclegan_dist.registry.log import Event, PromotionLog, problems_with

    log = PromotionLog("horses")
    assert log.read() == []
    for version in "123":
        log.append(Event.PROMOTED, anna("it is good"), version=version, champion=str(int(version) - 1 or ""))
    entries = log.read()
    assert [entry.before for entry in entries] == ["", entries[0].sha256, entries[1].sha256]
    assert problems_with(entries, "3", entries[1].sha256[:12]) == []
    assert "no entry aaaaaaaa" in problems_with(entries, "3", "a" * 8)[0]
    assert "entry 3 made it 3: it was moved without" in problems_with(entries, "1")[0]
    assert "entry 3 made it 3: its process ended before" in problems_with(entries, "2")[0]
    moved = [entries[0], dataclasses.replace(entries[2], champion="7")]
    assert "entry 3 found version 7 as champion, but entry 1 had made it 1" in problems_with(moved, "3")[0]
    with pytest.raises(UsageError, match="give 8 to 64 digits"):
        problems_with(entries, "3", "x")

    kept = dict(store.get_registered_model("horses--log").tags)
    store.set_registered_model_tag("horses--log", "entry.000002", kept["entry.000002"].replace("anna", "bob"))
    assert log.examine()[1] == ["entry 2 is not what was written"]
    forged = json.loads(kept["entry.000002"]) | {"user": "bob"}
    entry = dataclasses.replace(entries[1], user="bob")
    store.set_registered_model_tag("horses--log", "entry.000002", json.dumps(forged | {"sha256": entry.digest()}))
    assert log.examine()[1] == ["entry 3 does not follow the one that is before it now"]
    store.delete_registered_model_tag("horses--log", "entry.000002")
    assert log.examine()[1] == ["entry 2 is missing"]
    with pytest.raises(UsageError, match=r"log of horses was changed: entry 2 is missing; .* delete"):
        log.append(Event.PROMOTED, anna())
    store.set_registered_model_tag("horses--log", "entry.000002", "noise")
    assert log.examine()[1][0].startswith("entry.000002 is no entry")
    forged = json.dumps(json.loads(kept["entry.000002"]) | {"version": {}})  # which no set can have
    store.set_registered_model_tag("horses--log", "entry.000002", forged)
    assert log.examine()[1][0] == "entry.000002 is no entry: version is of another type"
    for key in kept:
        store.delete_registered_model_tag("horses--log", key)
    assert log.examine()[1] == ["it has no entries"]


def test_two_users_are_needed_to_need_one_again(store: Any) -> None:
    from cyclegan_dist.promotion import approval

    with pytest.raises(UsageError, match="need one person already"):
        approval.set_four_eyes("horses", on=False, author=anna())
    assert approval.set_four_eyes("horses", on=True, author=anna()).four_eyes
    assert approval.set_four_eyes("horses", on=False, author=anna()).four_eyes
    with pytest.raises(UsageError, match="version off of horses is proposed: confirm it, or take it back"):
        approval.set_four_eyes("horses", on=False, author=ben())
    with pytest.raises(UsageError, match="Anna has proposed it: another user must confirm it"):
        approval.confirm_off("horses", dataclasses.replace(anna(), user="Anna"))
    assert approval.approval("horses").four_eyes
    with pytest.raises(UsageError, match="version 3 of horses is not proposed"):
        approval.withdraw("horses", "3", ben())
    approval.withdraw("horses", "off", ben())
    with pytest.raises(UsageError, match="nothing is proposed"):
        approval.confirm_off("horses", ben())
    approval.set_four_eyes("horses", on=False, author=ben())
    approval.confirm_off("horses", anna())
    assert approval.approval("horses") == approval.Approval()
    off = ["proposed off anna", "refused off Anna", "withdrawn off ben", "proposed off ben", "four eyes off off anna"]
    assert events() == ["four eyes on  anna", *off]


def test_a_killed_confirmation_waits_also_after_one_that_was_refused() -> None:
    from cyclegan_dist.promotion.approval import approval_of
    from cyclegan_dist.registry.log import Entry, Event

    def entry(event: Any, user: str, **fields: str) -> Any:
        return Entry(number=1, time="", event=event, user=user, version="2", champion="1", **fields)  # pyright: ignore

    proposed = entry(Event.PROPOSED, "anna", sha256="a")
    entries = [proposed, entry(Event.PROMOTED, "ben", confirms="a"), entry(Event.REFUSED, "anna")]
    assert approval_of(entries, "1").proposal == proposed and approval_of(entries, "2").proposal is None
    assert approval_of([*entries, entry(Event.WITHDRAWN, "anna")], "1").proposal is None


def test_one_who_is_signed_in_and_one_who_is_not_may_be_one_person(store: Any) -> None:
    from cyclegan_dist.promotion import approval

    approval.set_four_eyes("horses", on=True, author=anna())
    approval.set_four_eyes("horses", on=False, author=anna())
    with pytest.raises(UsageError, match="its proposer, anna, was not signed in"):
        approval.confirm_off("horses", dataclasses.replace(ben(), signed_in=True))
    approval.withdraw("horses", "off", anna())
    approval.set_four_eyes("horses", on=False, author=dataclasses.replace(anna(), signed_in=True))
    with pytest.raises(UsageError, match="signed in by MLflow's server: sign in too"):
        approval.confirm_off("horses", ben())


@pytest.fixture
def setting(tiny_run: Callable[..., Config], dataset: Path, own_home: Path) -> Iterator[Setting]:
    config = tiny_run(stop_after=4)
    go(config)
    with promoting(config, dataset, own_home) as setting:
        yield setting


def test_a_second_user_confirms_and_the_evidence_is_measured_again(
    setting: Setting, own_home: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from cyclegan_dist.promotion import approval, confirmation
    from cyclegan_dist.registry.log import PromotionLog
    from cyclegan_dist.registry.versions import list_versions

    def confirm(version: str, author: Any, data: Path = setting.dataset) -> Any:
        return confirmation.confirm("horses", version, str(data), ALONE, author)

    approval.set_four_eyes("horses", on=True, author=anna())
    proposed = setting.promote(setting.candidate(0.5), author=anna("first"))
    assert (proposed.proposed, proposed.champion, setting.aliases()) == ("1", "", {})
    again = setting.promote(setting.candidate(0.5), author=ben())
    assert (again.proposed, again.verdict.reason) == ("1", "it is proposed already, by anna")
    for author, version, problem in ((anna(), "1", "anna has proposed it"), (ben(), "2", "version 1 is proposed")):
        with pytest.raises(UsageError, match=problem):
            confirm(version, author)
    with pytest.raises(
        UsageError, match=f"not the data set of the proposal of version 1, which was {setting.dataset},"
    ):
        confirm("1", ben(), make_dataset(own_home / "other", seed=7))
    assert setting.aliases() == {}
    code, out, _ = command(promote.main, "--name", "horses", "--list")
    assert "by rules of its own: veto=[]\n" in out
    assert code == 0 and "promotions need two users" in out and f"--confirm 1 --data {setting.dataset}\n" in out
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(MlflowClient, "set_registered_model_alias", lambda *_: exit("killed"))
        confirm("1", ben())
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(MlflowClient, "delete_registered_model_alias", lambda *_: exit("killed"))
        confirm("1", ben())
    assert setting.aliases() == {"champion": "1", "candidate": "1"}
    rerun = confirm("1", ben())  # what `promote` sends the alert by that the killed one did not send
    assert (rerun.champion, rerun.moved, rerun.verdict.reason) == ("1", False, "it is champion already")
    assert setting.aliases() == {"champion": "1"}
    tags = list_versions("horses")[0].tags
    assert (tags["proposed_by"], tags["proposed_reason"], tags["promoted_by"]) == ("anna", "first", "ben")

    assert setting.promote(setting.candidate(), author=ben()).proposed == "2"
    MlflowClient().set_registered_model_alias("horses", "champion", "2")  # by hand
    with pytest.raises(UsageError, match="outdated: champion was version 1 and is 2 now: propose it again"):
        confirm("2", anna())
    code, out, _ = command(promote.main, "--name", "horses", "--log")
    assert code == 1 and "problem: champion is version 2, but entry 6 made it 1: it was moved without an entry" in out
    MlflowClient().set_registered_model_alias("horses", "champion", "1")
    with monkeypatch.context() as patch:
        worse = type(again.verdict)(False, "not lower this time")
        patch.setattr("cyclegan_dist.promotion.promote.decide", lambda *_: worse)
        assert not confirm("2", anna()).verdict.passed and setting.aliases()["champion"] == "1"
    MlflowClient().set_registered_model_alias("horses", "previous", "2")
    with pytest.raises(UsageError, match="which the log does not know as a champion"):
        approval.roll_back("horses", anna())
    done = ["proposed 1 anna", "refused 1 anna", "refused 2 ben", "promoted 1 ben", "promoted 1 ben"]
    assert events() == [
        "four eyes on  anna",
        *done,
        "proposed 2 ben",
        "refused 2 anna",
        "refused 2 anna",
        "refused 2 anna",
    ]
    entries = PromotionLog("horses").read()
    assert entries[4].confirms == entries[5].confirms == entries[1].sha256


def test_the_training_state_of_the_champion_is_confirmed_too(setting: Setting) -> None:
    from cyclegan_dist.promotion import approval, confirmation

    setting.promote(setting.candidate(), author=anna())
    approval.set_four_eyes("horses", on=True, author=anna())
    assert setting.promote(setting.candidate(), with_state=True, author=anna()).proposed == "2"
    confirmed = confirmation.confirm("horses", "2", str(setting.dataset), ALONE, ben())
    assert confirmed.verdict.reason == "it is champion already, and now has its training state"
    assert setting.aliases() == {"champion": "2", "previous": "1"}


def test_an_alias_that_was_moved_meanwhile_stays_where_it_is(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    from cyclegan_dist.promotion import promote as steps

    setting.promote(setting.candidate(0.5))
    setting.promote(setting.candidate())
    evaluate = steps.evaluate

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        MlflowClient().set_registered_model_alias("horses", "champion", "1")
        return evaluate(*arguments, **options)

    monkeypatch.setattr(steps, "evaluate", meanwhile)
    monkeypatch.setattr(steps, "decide", lambda *_: steps.Verdict(True, "better"))
    with pytest.raises(UsageError, match="champion of horses was version 2 and is 1 now: it was moved while"):
        setting.promote(setting.candidate(0.1))
    assert setting.aliases()["champion"] == "1" and len(events()) == 2


def test_a_lock_that_was_deleted_is_noticed_before_anything_is_changed(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from cyclegan_dist.promotion import promote as steps

    evaluate = steps.evaluate

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        MlflowClient().delete_registered_model("horses--promotion")
        MlflowClient().create_registered_model("horses--promotion", tags={"holder": "elsewhere process 1"})
        return evaluate(*arguments, **options)

    monkeypatch.setattr(steps, "evaluate", meanwhile)
    with pytest.raises(UsageError, match="lock horses--promotion was deleted while this promotion"):
        setting.promote(setting.candidate())
    assert setting.aliases() == {} and events() == []
    assert MlflowClient().get_registered_model("horses--promotion")  # which is another process's


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--name", "x", "--list", "--log"), "--list and --log: give one of them"),
        (("--confirm", "1"), "give --name"),
        (("--name", "x", "--confirm", "1"), "--confirm: give --data"),
        (("--name", "x", "--confirm", "1", "--data", "d", "--count", "3"), "gate and the options of the proposal"),
        (("--name", "x", "--known", "abc", "--list"), "--known: give --log too"),
        (("--name", "x", "--rollback", "--dry-run"), "--dry-run and --rollback"),
        (("--name", "x--log", "--four-eyes", "on"), "names that end in --log"),
        (("--name", "x", "--rollback", "--reason", "a" * 1001), "--reason has 1001 characters"),
        (("--name", "x", "--rollback", "--user", "a\tb"), "--user: give at most 100 printable"),
        (("--name", "x", "--withdraw", "1"), "version 1 of x is not proposed"),
    ],
)
def test_bad_input_is_one_line(
    store: Any, command: Callable[..., Answer], arguments: tuple[str, ...], message: str
) -> None:
    store.search_registered_models()  # creates it
    code, _, err = command(promote.main, *arguments)
    assert code == 2 and message in err and err.count("\n") == 1, err
