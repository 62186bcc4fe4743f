import os
from pathlib import Path

import pytest

from cyclegan_dist.operations.doctor.access import (
    WRONG_TOKEN,
    TokenFiles,
    check_job_api,
    check_token_files,
    token_files_here,
)
from tests.operations.doctor.fleets import findings, levels

SECRET = "canary-token-value"


@pytest.mark.parametrize(
    ("without", "wrong", "level"),
    [
        (401, 403, "green"),
        (403, 401, "green"),
        (200, 200, "red"),
        (200, 403, "red"),
        (401, 200, "red"),
        (404, 404, "yellow"),
        (302, 302, "yellow"),
        (401, 500, "yellow"),
    ],
)
def test_what_the_job_api_answers(without: int, wrong: int, level: str) -> None:
    statuses = {("http://head", ""): without, ("http://head", WRONG_TOKEN): wrong}
    (found,) = findings(check_job_api, "http://head", lambda *request: statuses[request])
    assert found.level == level and bool(found.advice) == (level != "green")
    assert found.figures == {"without": without, "wrong_token": wrong}


def test_no_dashboard_is_green_and_one_without_an_answer_yellow() -> None:
    def ask(url: str, token: str) -> int:
        raise ConnectionRefusedError

    assert levels(check_job_api, "", ask) == ["green"]
    (found,) = findings(check_job_api, "http://head", ask)
    assert found.level == "yellow" and "does not answer: ConnectionRefusedError" in found.found


@pytest.fixture
def user_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return tmp_path


def write_token(path: Path, mode: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(SECRET)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("mode", "level"), [(0o600, "green"), (0o400, "green"), (0o640, "yellow"), (0o622, "yellow")])
def test_modes_of_the_file_in_the_home_folder(mode: int, level: str, user_home: Path) -> None:
    token = write_token(user_home / ".ray" / "auth_token", mode)
    (found,) = findings(check_token_files, {"a": token_files_here()})
    assert found.level == level and found.advice in ("", f"chmod 600 {token}")
    assert f"{mode:04o}" in found.found and SECRET not in str(found)


@pytest.mark.parametrize(("folder", "level"), [(0o755, "red"), (0o700, "yellow")])
def test_a_file_that_all_may_read_is_red_unless_its_folder_protects_it(
    folder: int, level: str, user_home: Path
) -> None:
    token = write_token(user_home / ".ray" / "auth_token", 0o644)
    for above in list(token.parents)[:-2]:  # pytest's folders, which only their owner may enter, but not /tmp
        above.chmod(0o755)
    token.parent.chmod(folder)
    assert levels(check_token_files, {"a": token_files_here()}) == [level]


def test_no_file_is_green_unless_the_environment_names_one(user_home: Path) -> None:
    (found,) = findings(check_token_files, {"a": token_files_here()})
    assert found.level == "green" and found.found.startswith("none")
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(user_home / "token")
    (found,) = findings(check_token_files, {"a": token_files_here()})
    assert found.level == "red" and "token, which does not exist" in found.found
    write_token(user_home / "token", 0o640)
    (found,) = findings(check_token_files, {"a": token_files_here()})
    assert found.level == "yellow" and found.found.startswith(f"a: {user_home}/token has mode 0640")


def test_each_node_is_named_with_its_files() -> None:
    fine, bad = TokenFiles(files=["/t"], problems=[]), TokenFiles(files=["/t"], problems=[("red", "/t is open", "x")])
    (found,) = findings(check_token_files, {"a": fine, "b": bad})
    assert found.found == "b: /t is open"
