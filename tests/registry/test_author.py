"""Who changes a registry: as the server says, or as they say."""

from typing import Any

import pytest

from cyclegan_dist.errors import UsageError
from tests.conftest import MLFLOW

pytestmark = MLFLOW


class Answer:
    """What MLflow's server answers."""

    def __init__(self, status: int, page: Any):
        self.status_code, self.ok, self._page = status, status < 400, page

    def json(self) -> Any:
        if isinstance(self._page, str):
            raise ValueError(self._page)
        return self._page


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """The next answers of a server, for the user anna."""
    found: list[Answer] = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    monkeypatch.setattr("cyclegan_dist.registry.author.http_request", lambda *_: found.pop())
    return found


def test_a_server_with_accounts_says_who_it_is(answers: list[Answer]) -> None:
    from cyclegan_dist.registry.author import Author, find_author

    page = {"user": {"id": 2, "username": "anna", "is_admin": False}}
    answers.append(Answer(200, page))
    assert find_author(reason=" it\nis good ") == Author("anna", "it is good", signed_in=True)
    answers.append(Answer(200, page))
    with pytest.raises(UsageError, match=r"--user ben: .* has signed you in as anna: leave out --user"):
        find_author("ben")
    answers.append(Answer(401, "no"))
    with pytest.raises(UsageError, match="refuses user anna: check MLFLOW_TRACKING_USERNAME"):
        find_author()


@pytest.mark.parametrize("answer", [Answer(404, "not found"), Answer(200, "<html>"), Answer(200, ["user"])])
def test_a_server_without_accounts_leaves_a_claim(answers: list[Answer], answer: Answer) -> None:
    from cyclegan_dist.registry.author import Author, find_author

    answers += [answer, answer]
    assert find_author() == Author("anna")
    assert find_author("ben") == Author("ben")


@pytest.mark.parametrize("uri", ["http://anna:secret@127.0.0.1:1", "HTTP://127.0.0.1:1"])
def test_the_server_is_asked_without_credentials_in_variables_too(
    answers: list[Answer], monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    from cyclegan_dist.registry.author import Author, find_author

    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    page = {"user": {"username": "anna"}}
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(variable, uri)
        answers.append(Answer(200, page))
        assert find_author() == Author("anna", signed_in=True)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    answers.append(Answer(401, "no"))
    with pytest.raises(UsageError, match=r"refuses user \(none is given\): check MLFLOW_TRACKING_USERNAME"):
        find_author()


def test_without_a_server_it_is_the_user_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclegan_dist.registry.author import Author, find_author

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setattr("getpass.getuser", lambda: "carla")
    assert find_author() == Author("carla")
