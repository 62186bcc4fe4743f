"""Drills D5, E6, E7 and X4: evaluation of failed generators, and promotion to the registry."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.measure import evaluate
from cyclegan_dist.models.snapshot import Snapshot
from tests.evaluation.functions import BROKEN, CONSTANT, IDENTITY, INVERT, generators
from tests.faults.forked_processes import in_fork, kill_at
from tests.faults.matrix import Measured, Stage, row
from tests.promotion.setting import Setting, promoting
from tests.training.trainings import ALONE, go


@row(
    "D5",
    "both generators do nothing, invert, or return one image for all",
    "each problem is reported, and no other",
)
def failed_generators(stage: Stage) -> Measured:
    config = stage.run(stop_after=2)
    go(config)
    manifest = open_manifest(str(stage.dataset), (*READING, "name"))
    cases = {"do-nothing": IDENTITY, "inverted": INVERT, "collapsed": CONSTANT}
    right = 0
    for name, function in cases.items():
        with generators(function, function):
            found = evaluate(Snapshot.open(config.run_dir), manifest, EvaluationConfig(), ALONE).findings
        right += {(f.name, f.direction) for f in found} == {(name, "AB"), (name, "BA")}
    return Measured(f"reported in both directions, with no other problem, {right} of {len(cases)}", right == len(cases))


@contextmanager
def trained(stage: Stage) -> Iterator[Setting]:
    config = stage.run(stop_after=4)
    go(config)
    with promoting(config, stage.dataset, stage.folder) as setting:
        yield setting


@row(
    "E6",
    "two concurrent promotions",
    "one succeeds, the other reports the conflict; the promotion is recorded and can be undone",
    slow=True,
)
def concurrent(stage: Stage) -> Measured:
    from cyclegan_dist.promotion.approval import roll_back

    with trained(stage) as setting:
        setting.promote(setting.candidate(0.5))
        rounds, succeeded, refused, wrong = stage.times(1, 10), 0, 0, 0
        for _ in range(rounds):
            codes = race(lambda: setting.promote(setting.candidate()), 2)
            succeeded, refused = succeeded + codes.count(0), refused + codes.count(3)
            wrong += setting.aliases() != {"champion": "2", "previous": "1"}
            roll_back("horses")
            wrong += setting.aliases() != {"champion": "1", "previous": "2"}
    figure = (
        f"{rounds} rounds of two: {succeeded} succeeded, {refused} refused because of another promotion; registry wrong "
        f"{wrong} times"
    )
    return Measured(figure, succeeded >= rounds and succeeded + refused == 2 * rounds and not wrong)


def race(work: Callable[[], Any], count: int) -> list[int | None]:
    """Exit codes of `count` concurrent processes; 3 if a process was refused because of another promotion."""

    def exit_with_reason() -> None:
        try:
            work()
        except UsageError as error:
            raise SystemExit(3 if "another promotion" in str(error) else 2) from error

    processes = [multiprocessing.get_context("fork").Process(target=exit_with_reason) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


@row(
    "E7",
    "a NaN, collapsed or worse model is promoted",
    "refused with the reason; the champion is unchanged",
    slow=True,
)
def bad_models(stage: Stage) -> Measured:
    with trained(stage) as setting:
        setting.promote(setting.candidate())
        reasons = [setting.promote(setting.candidate(0.5)).verdict.reason]
        for function, veto in ((BROKEN, ()), (CONSTANT, ("collapsed",)), (IDENTITY, ("do-nothing",))):
            with generators(function, function):
                reasons.append(setting.promote(setting.candidate(0.25), veto=veto).verdict.reason)
        unchanged = setting.aliases() == {"champion": "1"}
    kinds = ("not lower beyond", "not", "vetoed", "vetoed")
    refused = sum(kind in reason for kind, reason in zip(kinds, reasons, strict=True))
    return Measured(
        f"refused {refused} of {len(reasons)}, champion and versions unchanged: {unchanged}",
        refused == 4 and unchanged,
    )


@row(
    "X4",
    "a promotion is killed at each of its steps",
    "the registry is never inconsistent; the same command completes the promotion",
    slow=True,
)
def killed(stage: Stage) -> Measured:
    from mlflow import MlflowClient

    from cyclegan_dist.promotion import promote as steps
    from cyclegan_dist.registry.versions import Registered

    calls = [(steps, "log_generators"), *((Registered, name) for name in ("register", "point", "tag", "drop"))]
    calls += [(MlflowClient, "create_model_version"), (MlflowClient, "delete_registered_model")]
    points = inconsistent = incomplete = 0
    with trained(stage) as setting:
        old, new = setting.candidate(0.5), setting.candidate()
        setting.promote(old)
        for call in range(0, 99, stage.times(4, 1)):
            code = in_fork(lambda call=call: (kill_at(call, *calls), setting.promote(new), None)[-1])
            inconsistent += setting.aliases().get("champion") not in ready_versions()
            if code == 0:  # the promotion has fewer calls
                break
            assert code == -9, code
            points += 1
            outcome, after = setting.promote(new), setting.aliases()
            done = outcome.verdict.passed and after["champion"] == outcome.champion
            incomplete += not (done and after["previous"] != after["champion"] and "candidate" not in after)
            restore(old)
    figure = f"killed at {points} calls: champion incomplete {inconsistent} times, not completed by the same command {incomplete}"
    return Measured(figure, points >= stage.times(2, 8) and not inconsistent and not incomplete)


def ready_versions() -> set[str]:
    """The versions whose logged model is complete."""
    from mlflow import MlflowClient

    client = MlflowClient()
    return {
        str(version.version)
        for version in client.search_model_versions("name = 'horses'")
        if client.get_logged_model(str(version.source).rpartition("/")[2]).status == "READY"
    }


def restore(old: Any) -> None:
    """Restore the registry to one version, the champion."""
    from mlflow import MlflowClient

    from cyclegan_dist.promotion.promote import DIGEST
    from cyclegan_dist.registry.versions import Registered

    client, registered = MlflowClient(), Registered("horses")
    for version in registered.versions():
        if version.tags[DIGEST] == old.snapshot.digest():
            registered.point("champion", version.number)
            registered.drop("previous")
        else:
            client.delete_model_version("horses", version.number)
