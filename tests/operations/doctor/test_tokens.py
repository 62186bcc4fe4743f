import os
from pathlib import Path

import pytest

from cyclegan_dist.operations.doctor.tokens import TokenFile, asks_for_token, check_tokens, judge
from tests.operations.doctor.fleets import Forked

SECRET = "canary-token-value"


@pytest.fixture
def user_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return tmp_path


def write_token(path: Path, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SECRET)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("mode", "level"), [(0o600, "green"), (0o400, "green"), (0o640, "yellow"), (0o622, "yellow")])
def test_modes_of_the_default_file(mode: int, level: str, user_home: Path) -> None:
    write_token(user_home / ".ray" / "auth_token", mode)
    (found,) = check_tokens(Forked("a", "b"))
    assert found.level == level
    assert f"{mode:04o}" in found.found and SECRET not in str(found)


@pytest.mark.parametrize(("folder", "level"), [(0o755, "red"), (0o700, "yellow")])
def test_a_file_that_all_may_read_is_red_unless_its_folder_protects_it(
    folder: int, level: str, user_home: Path
) -> None:
    token = write_token(user_home / ".ray" / "auth_token", 0o644)
    for above in (token.parent, *token.parents):
        if user_home.parent.parent in above.parents:
            above.chmod(0o755)
    user_home.parent.parent.chmod(0o755)
    token.parent.chmod(folder)
    (found,) = check_tokens(Forked("a"))
    reached = all(above.stat().st_mode & 0o001 for above in token.parents)
    assert found.level == (level if reached or folder == 0o700 else "yellow")
    assert found.advice == f"chmod 600 {token}"


def test_everybody_s_file_is_red() -> None:
    (found,) = judge("a", TokenFile(path="/t", mode=0o644, is_reached=True, is_named=False))
    assert found.level == "red" and "everybody" in found.found


def test_no_file_is_green_unless_the_environment_names_one(user_home: Path) -> None:
    (found,) = check_tokens(Forked("a"))
    assert found.level == "green" and found.found.startswith("none")
    named = {"a": lambda: os.environ.update(RAY_AUTH_TOKEN_PATH=str(user_home / "gone"))}
    (found,) = check_tokens(Forked("a", prepare=named))
    assert found.level == "red" and "gone, which is not there" in found.found


def test_the_named_file_is_looked_at_too(user_home: Path) -> None:
    token = write_token(user_home / "token", 0o640)
    named = {"a": lambda: os.environ.update(RAY_AUTH_TOKEN_PATH=str(token))}
    (found,) = check_tokens(Forked("a", prepare=named))
    assert found.level == "yellow" and str(token) in found.found


@pytest.mark.parametrize(("mode", "asks"), [("token", True), ("disabled", False), ("", False)])
def test_what_a_node_was_started_with(mode: str, asks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert asks_for_token() is asks
