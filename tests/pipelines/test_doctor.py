import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cyclegan_dist.operations.doctor.checks import PROBES
from cyclegan_dist.operations.doctor.ports import Listener
from pipelines import doctor as pipeline
from tests.conftest import Answer

OPEN = [Listener(program="raylet", address="0.0.0.0", port=6379)]


@pytest.fixture
def cli(command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """The command on a machine without Ray, and without a terminal."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setitem(PROBES, "ports", lambda: [])
    return partial(command, pipeline.main)


def test_no_red_finding_ends_with_0(cli: Callable[..., Answer], own_home: Path, dataset: Path) -> None:
    code, out, _ = cli("horse2zebra", "--data.path", dataset, "--json", own_home / "out.json")
    tree = json.loads((own_home / "out.json").read_text())
    assert (code, tree["level"]) != (1, "red"), out
    assert "this machine alone" in out and "4 checkpoints of 418 MB" in out and "5 shards" in out
    assert [path.name for path in own_home.iterdir()] == ["out.json"]


def test_red_ends_with_1(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROBES, "ports", lambda: OPEN)
    code, out, _ = cli("demo")
    assert code == 1
    assert "raylet 6379 on 0.0.0.0; no token is required" in out and "1 red, " in out


def test_secrets_are_shown_nowhere(cli: Callable[..., Answer], own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:canary-1@127.0.0.1:9")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "canary-22")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-333")
    place = "nothing://bucket/canary-333"  # URLs with passwords are refused before
    code, out, err = cli("demo", "--checkpoints", place, "--json", own_home / "out.json")
    assert code == 1 and "127.0.0.1:9" in out and "nothing" in out
    assert "canary" not in out + err + (own_home / "out.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a preset"),
        (["demo", "--netwrok"], "unknown option --netwrok"),
        (["demo", "--name", "a/b"], "name 'a/b'"),
        (["demo", "--json", "/not/there/out.json"], "make the folder /not/there"),
    ],
)
def test_a_wrong_option_is_one_line(cli: Callable[..., Answer], arguments: list[str], words: str) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert words in err and err.count("\n") == 1
