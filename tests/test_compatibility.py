"""What older code has left stays readable: `tests/fixtures/README.md` says what there is."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image, ImageChops
from rich.console import Console

from cyclegan_dist import train
from cyclegan_dist.config.config import load_config
from cyclegan_dist.config.older import DROPPED, REPLACED
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.promotion.gate import read_gate
from cyclegan_dist.sweep.results import ranked, table
from cyclegan_dist.sweep.spec import load_sweep
from cyclegan_dist.sweep.state import open_sweep
from pipelines import promote, translate, verify
from tests.conftest import MLFLOW, Answer

Command = Callable[..., Answer]

MADE_IN = "/tmp/version_0"
STEPS, STOPPED_AFTER = 12, 7
RUN_ALONE = ("--tracking.mlflow", "False", "--held_out.data", "")
NEW_NAMES: dict[str, str] = {}  # of keys of the config, by their old ones


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as they were left."""
    folder = tmp_path_factory.mktemp("version_0")
    with tarfile.open(Path(__file__).parent / "fixtures" / "version_0.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture
def home(unpacked: Path, own_home: Path) -> Path:
    """The files in this test's folder, moved there as a user would."""
    shutil.copytree(unpacked, own_home, dirs_exist_ok=True)
    changed = [own_home / "mlflow.sql", *own_home.glob("runs/*/mlflow.json"), *own_home.glob("runs/**/*.yaml")]
    for path in changed:
        path.write_text(path.read_text().replace(MADE_IN, str(own_home)))
    with closing(sqlite3.connect(own_home / "mlflow.db")) as database:
        database.executescript((own_home / "mlflow.sql").read_text())
    return own_home


@pytest.fixture
def expected(unpacked: Path) -> dict[str, Any]:
    return json.loads((unpacked / "expected.json").read_text())


def losses(run_dir: Path) -> dict[str, dict[str, float]]:
    """Losses and learning rates by step, in a run's journal."""
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {
        str(record["step"]): {k: v for k, v in record["values"].items() if k.startswith(("loss/", "lr/"))}
        for record in records
        if record["kind"] == "metrics"
    }


def same_pixels(one: Path, two: Path) -> bool:
    with Image.open(one) as a, Image.open(two) as b:
        return (a.mode, a.size) == (b.mode, b.size) and ImageChops.difference(a, b).getbbox() is None


@pytest.mark.parametrize("name", ["data", "pairs", "channels"])
def test_a_data_set(home: Path, expected: dict[str, Any], command: Command, name: str) -> None:
    manifest, known = open_manifest(str(home / name), tuple(SCHEMA.names)), expected["data"][name]
    assert (manifest.digest, manifest.samples, manifest.paired) == (known["digest"], known["samples"], known["paired"])
    assert {domain: manifest.domain_digest(domain) for domain in "AB"} == known["domain_digests"]
    sizes = zip(*(manifest.table[column].to_pylist() for column in ("width", "height", "mode")), strict=True)
    assert [list(size) for size in sizes] == known["sizes"]
    code, out, _ = command(verify.main, home / name, "--decode")
    assert code == 0 and "every byte is as recorded" in out


def test_configs_that_were_written(home: Path, expected: dict[str, Any]) -> None:
    def flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
        parts = [flat(v, f"{above}{k}.") if isinstance(v, dict) else {above + k: v} for k, v in tree.items()]
        return {key: value for part in parts for key, value in part.items()}

    for path in ("training.yaml", "runs/run/config.yaml"):
        now = flat(asdict(load_config(str(home / path))))
        for key, value in flat(yaml.safe_load((home / path).read_text())).items():
            # Where several values may be given now, one is a tuple of one.
            assert key in (*DROPPED, *REPLACED) or now[NEW_NAMES.get(key, key)] in (value, (value,)), key
    assert {NEW_NAMES.get(key, key) for key in flat(expected["config"])} <= {*now, *DROPPED, *REPLACED}
    assert (read_gate(str(home / "gate.yaml")).figure, read_gate(str(home / "gate.yaml")).veto) == ("kd/untrained", ())


@pytest.mark.slow
def test_a_run_goes_on_to_the_same_numbers(home: Path, expected: dict[str, Any], command: Command) -> None:
    run_dir = home / "runs" / "run"
    before = losses(run_dir)
    code, out, err = command(train.main, run_dir / "config.yaml", "--launcher", "local", "--stop_after", 0, *RUN_ALONE)
    assert code == 0, err
    assert f"resumed at step {STOPPED_AFTER}" in out
    after, wanted = losses(run_dir), before | expected["losses"]
    assert list(after) == list(wanted) == [str(step) for step in range(1, STEPS + 1)]
    for step, values in wanted.items():
        assert after[step] == pytest.approx(values, rel=1e-6), step  # in fp64: on any processor
    assert command(translate.main, run_dir, home / "horse.png", home / "out.png")[0] == 0  # by averaged weights
    assert same_pixels(home / "out.png", home / "horse_to_B_at_end.png")


@pytest.mark.parametrize("direction", ["AB", "BA"])
def test_a_snapshot(home: Path, command: Command, direction: str) -> None:
    snapshot = home / "runs" / "run" / "snapshots" / "nimg-000000014"
    card = json.loads((snapshot / "card.json").read_text())
    for optional in ((), ("directions", "preprocess", "ema_decay")):  # still older ones lack these
        (snapshot / "card.json").write_text(json.dumps({k: v for k, v in card.items() if k not in optional}))
        out = home / "out.png"
        how = ("--direction", direction, "--overwrite")
        assert command(translate.main, snapshot, home / "horse.png", out, *how)[0] == 0
        assert same_pixels(out, home / f"horse_to_{direction[1]}.png")


def test_a_sweep_is_told_of(home: Path) -> None:
    spec = load_sweep("sweep.yaml")
    with open_sweep(spec) as sweep:
        trials = ranked(spec, sweep.record.trials.values())
        found = sweep.next()
        assert found is not None
        left, config = found
        assert sweep.next() is None
    assert [(trial.name, trial.status, trial.nimg) for trial in trials] == [
        ("trial-0000", "finished", 600),
        ("trial-0001", "open", 82),
    ]
    console = Console(width=200, record=True, quiet=True)
    assert "unfinished" in {*table(console, spec, trials, "").columns[1].cells}
    assert left == trials[1] and config.run_dir == home / "runs" / "swept" / "trial-0001"
    assert load_config("runs/swept/best.yaml").optim.lr == trials[0].values["optim.lr"]


@pytest.mark.slow
def test_a_trial_goes_on_by_itself(home: Path, command: Command) -> None:
    config = home / "runs" / "swept" / "trial-0001" / "config.yaml"
    code, out, err = command(train.main, config, "--launcher", "local", "--stop_after", 100)
    assert code == 0, err
    assert "resumed at step 41, 82 images" in out and "images 100/100" in out


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_goes_on(home: Path) -> None:
    line = [sys.executable, "-m", "pipelines.sweep", "sweep.yaml"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "trial-0001 continues" in out and "trial-0000 starts" not in out
    told = json.loads((home / "runs" / "swept" / "trials.json").read_text())
    assert [trial["status"] for trial in told["trials"]] == ["finished", "finished"]


class TestMlflow:
    pytestmark = MLFLOW

    def test_a_champion(self, home: Path, command: Command) -> None:
        code, out, _ = command(promote.main, "--name", "horses", "--list")
        assert code == 0 and "champion" in out and "there is no champion yet" in out
        again = ("runs/run", "--name", "horses", "--data", "pairs", "--device", "cpu")
        code, out, _ = command(promote.main, *again)
        assert code == 0 and "version 1 is champion: it is champion already" in out
        assert command(translate.main, "models:/horses@champion", home / "horse.png", home / "out.png")[0] == 0
        assert same_pixels(home / "out.png", home / "champion_to_B.png")

    def test_a_run_that_goes_on_is_the_same_run_in_mlflow(self, home: Path, command: Command) -> None:
        run_dir = home / "runs" / "run"
        arguments = (run_dir / "config.yaml", "--launcher", "local", "--stop_after", 0, "--held_out.data", "")
        assert command(train.main, *arguments)[0] == 0
        mark = json.loads((run_dir / "mlflow.json").read_text())
        with closing(sqlite3.connect(home / "mlflow.db")) as database:
            assert database.execute("select run_uuid, status from runs").fetchall() == [(mark["run_id"], "FINISHED")]
            steps = database.execute("select step from metrics where key = 'loss/G' order by step").fetchall()
        assert steps == [(step,) for step in range(1, STEPS + 1)]
        assert mark["offset"] == (run_dir / "metrics.jsonl").stat().st_size
