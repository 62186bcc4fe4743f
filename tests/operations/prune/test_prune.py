import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cyclegan_dist.checkpoint.storage import LocalStorage
from cyclegan_dist.config.config import Config
from cyclegan_dist.operations.prune import removal
from cyclegan_dist.storage.files import lock
from cyclegan_dist.storage.layout import RunFolder
from cyclegan_dist.tracking.sender_state import SenderState
from pipelines.prune import main
from tests.conftest import Answer
from tests.operations.prune.runs import STEPS, config_of, contents, make_run, write_checkpoint
from tests.training.trainings import go, records

Prune = Callable[..., Answer]


@pytest.fixture
def prune(command: Callable[..., Answer]) -> Prune:
    return lambda *arguments: command(main, *arguments)


def listed(out: str, root: Path) -> list[str]:
    """The paths of a listing, from `root`."""
    return sorted(found.removeprefix(f"{root}/") for found in re.findall(r"(?m)^ *[\d.]+ [KM]?B  (/[^:]*): ", out))


def older(run: str, *kept: int) -> list[str]:
    """A run's checkpoints but those of the steps `kept`."""
    return [f"{run}/checkpoints/step-{step:09d}" for step in STEPS if step not in kept]


def superseded(run: str, *kept: int) -> list[str]:
    return [f"{run}/snapshots/nimg-{2 * step:09d}" for step in STEPS if step not in kept]


def whole(run: Path) -> list[int]:
    return LocalStorage(RunFolder(run).checkpoints).steps()


def test_what_is_listed_is_removed_and_nothing_else_changes(prune: Prune, own_home: Path) -> None:
    runs = own_home / "runs"
    for name, end in {"stopped": "KILLED", "failed": "FAILED", "killed": ""}.items():
        make_run(runs / name, end)
    make_run(runs / "good", best=4)
    make_run(runs / "scored", scores=(0.1, 0.4, 0.3, 0.2), keep_best=1)
    make_run(runs / "sweep" / "trial-0000")
    (runs / "sweep" / "sweep.jsonl").touch()
    make_run(runs / "elsewhere", checkpoints="s3://bucket/runs")
    make_run(runs / "student", init_from=str(runs / "good" / "snapshots" / "nimg-000000004"))
    make_run(runs / "unsent", tracking=config_of(tracking__mlflow=True).tracking)
    make_run(own_home / "other" / "outside")
    (runs / "linked").symlink_to(own_home / "other" / "outside")
    make_run(runs / "moved")
    shutil.move(runs / "moved" / "checkpoints", own_home / "other" / "checkpoints")
    (runs / "moved" / "checkpoints").symlink_to(own_home / "other" / "checkpoints")
    write_checkpoint(runs / "killed" / "checkpoints", 10, run="another")
    drafts = ["killed/checkpoints/.step-000000012-0a1b2c3d", "good/snapshots/.nimg-000000018"]
    for draft in drafts:
        (runs / draft).mkdir()
        (runs / draft / "part").write_bytes(b"cut off")
    prepared = ["0123456789abcdef", "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc"]
    for key in prepared:
        (runs / ".data" / key).mkdir(parents=True)
        (runs / ".data" / key / "sources.json").write_text("{}")
        if key == prepared[3]:
            (runs / ".data" / key / ".referred").write_text("/elsewhere/v2\n")
        for path in (runs / ".data" / key / "sources.json", runs / ".data" / key):
            os.utime(path, (0, 0) if key != prepared[2] else None)  # the last one was used just now
        (runs / ".data" / f"{key}.lock").touch()
    make_run(runs / "prepared", "KILLED", data=config_of(data__path=str(runs / ".data" / prepared[1])).data)
    with lock(RunFolder(make_run(runs / "busy")).lock):
        before = contents(own_home)
        code, out, err = prune()
        assert code == 0 and contents(own_home) == before
        found = listed(out, runs)
        assert found == sorted(
            [
                *(*older("good", 4, 8), *superseded("good", 2, 4, 8), *drafts, f".data/{prepared[0]}"),
                *(*older("scored", 2, 8), *superseded("scored", 8), *superseded("elsewhere", 8)),
                *older("sweep/trial-0000", 8),
                *(*older("student", 8), *superseded("student", 8), *older("unsent", 8), *superseded("moved", 8)),
            ]
        )
        for line in (
            "busy is left alone: it is in use",
            "sweep: snapshots of its trials are kept, because `paper` chooses among all",
            f"{runs}/.data/{prepared[3]} is left alone: /elsewhere/v2 refers to its shards",
            "linked is left alone: it is a link",
            "elsewhere: its checkpoints are not in its folder, and left alone: s3://bucket/runs",
            "unsent: snapshots are kept, because not all of the run is in MLflow: sync it first",
            f"moved: {runs}/moved/checkpoints/step-000000002 is left alone: a link leads there",
        ):
            assert line in err.splitlines()
        code, removed, _ = prune("--yes")
        assert code == 0 and listed(removed, runs) == found
        assert removed.splitlines()[-1].split()[:2] == out.splitlines()[-1].split()[:2]  # the sum
        assert prune("--yes")[1] == "nothing was removed\n"
    gone = [f"{runs}/{path}/" for path in found]
    assert contents(own_home) == {path: text for path, text in before.items() if not path.startswith(tuple(gone))}


def test_the_last_checkpoints_go_only_on_request_and_not_where_they_are_needed(prune: Prune, own_home: Path) -> None:
    runs = own_home / "runs"
    make_run(runs / "done", best=4)
    make_run(runs / "source")
    make_run(runs / "further", "KILLED", init_from=str(runs / "source"))
    make_run(runs / "part", stop_after=16)
    os.utime(make_run(runs / "extended") / "config.yaml", (2e9, 2e9))
    code, _, err = prune("--all-checkpoints", "--yes")
    assert code == 0
    assert {
        "source keeps its newest checkpoint: another run names it",
        "part keeps its newest checkpoint: it ended at stop_after",
    } < {*err.splitlines()}
    kept = {name: whole(runs / name) for name in ("done", "source", "further", "part", "extended")}
    assert kept == {"done": [], "source": [8], "further": [*STEPS], "part": [8], "extended": [8]}


def test_the_newest_checkpoint_that_is_whole_is_kept(prune: Prune, own_home: Path) -> None:
    run = make_run(own_home / "runs" / "one")
    (run / "checkpoints" / "step-000000008" / "shared.pt").write_bytes(b"rotten")
    write_checkpoint(run / "checkpoints", 10, run="another")
    assert prune("--yes")[0] == 0 and whole(run) == [6, 8, 10]


def test_a_run_whose_newest_or_best_snapshot_is_damaged_or_not_known_keeps_all(prune: Prune, own_home: Path) -> None:
    runs, held_out = own_home / "runs", config_of(held_out__data="/val").held_out
    (make_run(runs / "newest") / "snapshots" / "nimg-000000016" / "G_AB.safetensors").write_bytes(b"rotten")
    shutil.rmtree(make_run(runs / "best", best=4) / "snapshots" / "nimg-000000008")
    make_run(runs / "unknown", held_out=held_out)
    (make_run(runs / "damaged", best=4) / "best.json").write_text("{")
    (make_run(runs / "no-config") / "config.yaml").write_text("tracking: 1")
    before = {name: text for name, text in contents(runs).items() if "/unknown/checkpoints" not in name}
    code, out, err = prune("--yes")
    after = contents(runs)
    assert code == 0 and all(after.get(name) == text for name, text in before.items()), out
    assert listed(out, runs) == older("unknown", 8)
    for name in ("newest", "best", "damaged", "no-config"):
        assert f"\n{name} is left alone: " in f"\n{err}"
    assert "unknown: snapshots are kept, because best.json does not say which is the best" in err


def test_one_run_alone_and_what_the_others_name(prune: Prune, own_home: Path) -> None:
    run = make_run(own_home / "elsewhere" / "one")
    other = make_run(own_home / "elsewhere" / "two", init_from=str(run / "snapshots" / "nimg-000000008"))
    code, out, _ = prune("elsewhere/one", "--yes")
    assert code == 0 and "KB  elsewhere/one/checkpoints/step-000000006: older than step 8, from which" in out
    assert whole(run) == [8] and whole(other) == [*STEPS]
    assert [path.name for path in sorted((run / "snapshots").iterdir())] == ["nimg-000000008", "nimg-000000016"]
    (other / "config.yaml").write_text("a: [")
    make_run(own_home / "elsewhere" / "three")
    _, _, err = prune("elsewhere")
    assert f"snapshots are kept: {other}/config.yaml cannot be read, and may name one" in err


def test_a_killed_removal_leaves_whole_checkpoints_and_the_next_one_ends_it(
    prune: Prune, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(own_home / "runs" / "one")

    def killed(path: Path) -> None:
        (path / "manifest.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(removal.shutil, "rmtree", killed)
        assert prune("--yes")[0] == 130
    assert whole(run) == [4, 6, 8] and (run / "checkpoints" / ".step-000000002-removed").exists()
    assert prune("--yes")[0] == 0
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-000000008"]


def test_a_run_that_is_resumed_meanwhile_is_left_as_it_is(
    prune: Prune, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(own_home / "runs" / "one")
    taken = removal.lock

    @contextmanager
    def late(path: Path, *, held: str) -> Iterator[None]:
        """Another launcher had the lock for a moment before."""
        with RunFolder(run).journal.open("a") as file:
            file.write("{}\n")
        with taken(path, held=held):
            yield

    with monkeypatch.context() as patched:
        patched.setattr(removal, "lock", late)
        assert prune("--yes") == (0, "nothing was removed\n", "one has just changed\n")

    @contextmanager
    def second(path: Path, *, held: str) -> Iterator[None]:
        """Another launcher has the lock from then on."""
        with taken(path), taken(path, held=held):
            yield

    with monkeypatch.context() as patched:
        patched.setattr(removal, "lock", second)
        assert prune("--yes") == (0, "nothing was removed\n", "one is in use\n")
    with monkeypatch.context() as patched:
        patched.setattr(removal.shutil, "rmtree", lambda path: os.rmdir(path))
        code, out, err = prune("--yes")
        assert code == 1 and out == "nothing was removed\n" and "was not removed: Directory not empty" in err
        shutil.move(run / "checkpoints" / ".step-000000002-removed", run / "checkpoints" / "step-000000002")
    assert whole(run) == [*STEPS]


def test_a_pruned_run_goes_on(prune: Prune, tiny_run: Callable[..., Config]) -> None:
    options = {"every__snapshot": 2, "every__checkpoint": 2, "stop_after": 6}
    config = tiny_run(**options)
    go(config)
    assert whole(config.run_dir) == [1, 2, 3]
    assert prune("--yes")[0] == 0 and whole(config.run_dir) == [3]
    config = tiny_run(**{**options, "stop_after": 8})
    assert go(config) == "FINISHED" and whole(config.run_dir) == [3, 4]
    assert any("resumed at step 3" in record.get("text", "") for record in records(config))


def test_without_an_answer_of_mlflow_snapshots_are_kept(prune: Prune, own_home: Path) -> None:
    run = make_run(own_home / "runs" / "one")
    SenderState(store=f"sqlite:///{own_home}/gone.db", run_id="1", offset=10**6).save(run)
    code, _, err = prune("--yes")
    assert code == 0 and whole(run) == [8] and len(list((run / "snapshots").iterdir())) == len(STEPS)
    assert f"so snapshots are kept: there is no store at sqlite:///{own_home}/gone.db" in err


def test_a_folder_that_is_not_there(prune: Prune, own_home: Path) -> None:
    code, _, err = prune("nowhere")
    assert code == 2 and err == "error: nowhere is not a folder: give the --runs_dir of the trainings\n"
