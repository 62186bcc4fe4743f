"""Groups D and E where generators are judged: what went wrong with them is found, and the registry stays whole."""

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
from tests.faults.dying import in_fork, kill_at
from tests.faults.matrix import Measured, Stage, row
from tests.promotion.setting import Setting, promoting
from tests.training.trainings import ALONE, go


@row("D5", "both generators do nothing, invert, or give one image for all", "said in words, and nothing else is")
def went_wrong(stage: Stage) -> Measured:
    config = stage.run(stop_after=2)
    go(config)
    manifest = open_manifest(str(stage.dataset), (*READING, "name"))
    cases = {"do-nothing": IDENTITY, "inverted": INVERT, "collapsed": CONSTANT}
    right = 0
    for name, function in cases.items():
        with generators(function, function):
            found = evaluate(Snapshot.open(config.run_dir), manifest, EvaluationConfig(), ALONE).findings
        right += {(f.name, f.direction) for f in found} == {(name, "AB"), (name, "BA")}
    return Measured(f"found, in both directions and nothing besides, {right} of {len(cases)}", right == len(cases))


@contextmanager
def trained(stage: Stage) -> Iterator[Setting]:
    config = stage.run(stop_after=4)
    go(config)
    with promoting(config, stage.dataset, stage.folder) as setting:
        yield setting


@row(
    "E6",
    "two promotions at once",
    "one of them wins, the other says so; the move is recorded and undone",
    slow=True,
)
def at_once(stage: Stage) -> Measured:
    from cyclegan_dist.promotion.promote import roll_back

    with trained(stage) as setting:
        setting.promote(setting.candidate(0.5))
        rounds, won, told, wrong = stage.times(1, 10), 0, 0, 0
        for _ in range(rounds):
            codes = race(lambda: setting.promote(setting.candidate()), 2)
            won, told = won + codes.count(0), told + codes.count(3)
            wrong += setting.aliases() != {"champion": "2", "previous": "1"}
            roll_back("horses")
            wrong += setting.aliases() != {"champion": "1", "previous": "2"}
    figure = f"{rounds} rounds of two: {won} won, {told} told that another is at it; registry wrong {wrong} times"
    return Measured(figure, won >= rounds and won + told == 2 * rounds and not wrong)


def race(work: Callable[[], Any], count: int) -> list[int | None]:
    """Exit codes of so many processes that do the same together; 3 for one that was told of another promotion."""

    def tell() -> None:
        try:
            work()
        except UsageError as error:
            raise SystemExit(3 if "another promotion" in str(error) else 2) from error

    processes = [multiprocessing.get_context("fork").Process(target=tell) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


@row(
    "E7",
    "a NaN, collapsed or worse model is promoted",
    "refused with the reason; the champion stays",
    slow=True,
)
def bad_ones(stage: Stage) -> Measured:
    with trained(stage) as setting:
        setting.promote(setting.candidate())
        reasons = [setting.promote(setting.candidate(0.5)).verdict.reason]
        for function, veto in ((BROKEN, ()), (CONSTANT, ("collapsed",)), (IDENTITY, ("do-nothing",))):
            with generators(function, function):
                reasons.append(setting.promote(setting.candidate(0.25), veto=veto).verdict.reason)
        stays = setting.aliases() == {"champion": "1"}
    kinds = ("not lower beyond", "not", "vetoed", "vetoed")
    refused = sum(kind in reason for kind, reason in zip(kinds, reasons, strict=True))
    return Measured(
        f"refused {refused} of {len(reasons)}, champion and versions untouched: {stays}", refused == 4 and stays
    )


@row(
    "X4",
    "a promotion is killed at each of its steps",
    "the registry is never half-way; again, it is done",
    slow=True,
)
def killed(stage: Stage) -> Measured:
    from mlflow import MlflowClient

    from cyclegan_dist.promotion import promote as steps
    from cyclegan_dist.registry.versions import Registered

    calls = [(steps, "log_generators"), *((Registered, name) for name in ("register", "point", "tag", "drop"))]
    calls += [(MlflowClient, "create_model_version"), (MlflowClient, "delete_registered_model")]
    points = half_way = undone = 0
    with trained(stage) as setting:
        old, new = setting.candidate(0.5), setting.candidate()
        setting.promote(old)
        for call in range(0, 99, stage.times(4, 1)):
            code = in_fork(lambda call=call: (kill_at(call, *calls), setting.promote(new), None)[-1])
            half_way += setting.aliases().get("champion") not in whole_versions()
            if code == 0:  # it has fewer steps than that
                break
            assert code == -9, code
            points += 1
            outcome, after = setting.promote(new), setting.aliases()
            done = outcome.verdict.passed and after["champion"] == outcome.champion
            undone += not (done and after["previous"] != after["champion"] and "candidate" not in after)
            only_old(old)
    figure = (
        f"killed at {points} calls: champion no whole pair {half_way} times, not mended by the same command {undone}"
    )
    return Measured(figure, points >= stage.times(2, 8) and not half_way and not undone)


def whole_versions() -> set[str]:
    from mlflow import MlflowClient

    client = MlflowClient()
    return {
        str(version.version)
        for version in client.search_model_versions("name = 'horses'")
        if client.get_logged_model(str(version.source).rpartition("/")[2]).status == "READY"
    }


def only_old(old: Any) -> None:
    """The registry as it was: one version, champion."""
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
