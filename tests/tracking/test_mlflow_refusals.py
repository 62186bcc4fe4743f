"""What MLflow refuses or cannot store, and runs that are deleted: the rest is sent once."""

import threading
from collections.abc import Callable

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.errors import UsageError
from cyclegan_dist.tracking.journal import Journal, append, read_records
from cyclegan_dist.tracking.sender_state import SenderState
from tests.conftest import MLFLOW, Answer

pytestmark = MLFLOW

SET = threading.Event()
SET.set()


def journal_of(config: Config, *records: tuple[str, dict[str, object]]) -> None:
    with Journal(config.run_dir) as journal:
        journal.write("run", config={}, data=[], nimg=0, total=40)
        for kind, fields in records:
            journal.write(kind, **fields)


def metrics(step: int, **values: object) -> tuple[str, dict[str, object]]:
    return "metrics", {"step": step, "nimg": 2 * step, "values": values}


def refused(config: Config) -> list[dict[str, object]]:
    return [record for record, _ in read_records(config.run_dir / "mlflow.refused.jsonl", 0)]


LONG = "a" * 300


def test_what_mlflow_refuses_is_set_aside_once_and_the_rest_is_sent(
    tiny_run: Callable[..., Config],
    store: str,
    capsys: pytest.CaptureFixture[str],
    command: Callable[..., Answer],
) -> None:
    import mlflow

    from cyclegan_dist.training.sender import sync
    from pipelines import sync as sync_command

    config = tiny_run()
    values: list[dict[str, object]] = [{LONG: 1.0}, {"none": None}, {"text": "x"}, {"list": [1]}, {"two\nlines": 1.0}]
    steps = [metrics(step, good=1.0, other=2.0, **values[step % 7] if step % 7 < 5 else {}) for step in range(14)]
    broken = [("metrics", {"step": 20}), ("metrics", {"step": 21, "values": [1]}), ("image", {"step": 3}), ("end", {})]
    journal_of(config, *steps, *broken, metrics(30, good=1.0), ("end", {"status": "FINISHED"}))
    sync(config.run_dir, SET)
    state = SenderState.read(config.run_dir)
    client = mlflow.MlflowClient()
    assert client.get_run(state.run_id).info.status == "FINISHED"
    for name, count in (("good", 15), ("other", 14)):
        assert len(client.get_metric_history(state.run_id, name)) == count
    kept = refused(config)
    assert sorted(record["step"] for record in kept if record["metric"]) == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]
    assert [record["kind"] for record in kept if not record["metric"]] == ["metrics", "metrics", "image", "end"]
    assert all(record["reason"] for record in kept)
    assert all(list(record["values"]) == [record["metric"]] for record in kept if record["metric"])  # type: ignore
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("MLflow refuses ")]
    assert len(lines) == 8 == err.count("\n") and max(map(len, lines)) < 500  # each metric, and kind of record, once

    code, out, _ = command(sync_command.main, config.run_dir)
    assert code == 0 and "nothing is left to send" in out and "mlflow.refused.jsonl keeps what MLflow refused" in out
    with (config.run_dir / "mlflow.refused.jsonl").open("a") as file:
        file.write('{"kind": "metr')  # the sender was killed while it wrote
    (config.run_dir / "mlflow.json").unlink()  # and all is sent again
    append(config.run_dir, "metrics", step=40, nimg=80, values={LONG: 1.0})
    sync(config.run_dir, SET)
    assert refused(config)[:-1] == kept and refused(config)[-1]["step"] == 40
    assert len(client.get_metric_history(state.run_id, "good")) == 15


def test_what_mlflow_fails_to_store_is_set_aside_after_some_tries_and_the_rest_is_sent(
    tiny_run: Callable[..., Config], store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    from cyclegan_dist.training import sender

    monkeypatch.setattr(sender, "PAUSE_S", 0)
    config = tiny_run()
    journal_of(config, metrics(1, good=1.0))
    for step in (2**63, *range(3, 9)):  # the first is too large for SQLite's integers
        append(config.run_dir, "metrics", step=step, nimg=2, values={"good": 1.0, "other": 2.0})
    append(config.run_dir, "end", status="FINISHED")
    sender.sync(config.run_dir, SET)
    client, run_id = mlflow.MlflowClient(), SenderState.read(config.run_dir).run_id
    assert [len(client.get_metric_history(run_id, name)) for name in ("good", "other")] == [7, 6]
    assert [(record["step"], record["metric"]) for record in refused(config)] == [(2**63, "good"), (2**63, "other")]
    assert "Python int too large" in str(refused(config)[0]["reason"])
    assert client.get_run(run_id).info.status == "FINISHED"
    assert capsys.readouterr().err.count("MLflow refuses metric ") == 2


@pytest.mark.parametrize(("code", "tags"), [(3, False), (1, True)], ids=["BAD_REQUEST", "INTERNAL_ERROR"])
def test_nothing_is_set_aside_while_mlflow_refuses_everything(
    tiny_run: Callable[..., Config], store: str, monkeypatch: pytest.MonkeyPatch, code: int, tags: bool
) -> None:
    import mlflow

    from cyclegan_dist.training import sender

    monkeypatch.setattr(sender, "PAUSE_S", 0)
    config = tiny_run()
    journal_of(config, *(metrics(step, good=1.0) for step in range(3)))

    def refuse(*_: object, **arguments: object) -> None:
        if arguments.get("metrics", True):
            raise mlflow.MlflowException("no", error_code=code)

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_batch", refuse)
        if not tags:
            patch.setattr(mlflow.MlflowClient, "set_tag", refuse)
        with pytest.raises(UsageError, match="did not accept the run: no"):
            sender.sync(config.run_dir, SET)
    sender.sync(config.run_dir, SET)
    assert not (config.run_dir / "mlflow.refused.jsonl").exists()
    run_id = SenderState.read(config.run_dir).run_id
    assert len(mlflow.MlflowClient().get_metric_history(run_id, "good")) == 3


def test_a_run_that_is_deleted_for_good_is_sent_as_a_new_one(
    tiny_run: Callable[..., Config], store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient
    from mlflow.tracking._tracking_service.utils import _get_store

    from cyclegan_dist.training.sender import sync

    config = tiny_run()
    journal_of(config, *(metrics(step, good=1.0) for step in range(3)))
    sync(config.run_dir, SET)
    client, first = MlflowClient(), SenderState.read(config.run_dir).run_id
    client.delete_run(first)
    with pytest.raises(UsageError, match="is in the trash"):
        sync(config.run_dir, SET)
    _get_store()._hard_delete_run(first)  # as `mlflow gc` does
    sync(config.run_dir, SET)
    second = SenderState.read(config.run_dir).run_id
    assert second != first and len(client.get_metric_history(second, "good")) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"MLflow run {first} of {store} has been deleted permanently" in err


def test_a_run_that_is_deleted_while_it_is_sent_loses_nothing(tiny_run: Callable[..., Config], store: str) -> None:
    from mlflow import MlflowClient

    from cyclegan_dist.tracking.mlflow_run import MlflowException, MlflowRun
    from cyclegan_dist.training.sender import sync

    config, client = tiny_run(), MlflowClient()
    journal_of(config, *(metrics(step, good=1.0) for step in range(3)))
    sync(config.run_dir, SET)
    run = MlflowRun(config.run_dir, "cyclegan_dist", config.run_dir, lambda *_: None)
    journal_of(config, *(metrics(step, good=1.0) for step in range(3, 6)))
    client.delete_run(run.run_id)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        for record, offset in read_records(config.run_dir / "metrics.jsonl", run.offset):
            run.send(record, offset)
        run.flush()
    assert not (config.run_dir / "mlflow.refused.jsonl").exists()
    client.restore_run(run.run_id)
    sync(config.run_dir, SET)
    assert len(client.get_metric_history(run.run_id, "good")) == 6
