from pathlib import Path

import pytest

from cyclegan_dist.tracking.journal import Journal
from cyclegan_dist.tracking.sender_state import SenderState, key_of, server_of


def test_saved_state_is_read(tmp_path: Path) -> None:
    state = SenderState("http://host", "key", "id", 7)
    state.save(tmp_path)
    assert SenderState.read(tmp_path) == state
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unknown": 1}', "null"])
def test_a_damaged_file_is_an_empty_state(tmp_path: Path, text: str) -> None:
    (tmp_path / "mlflow.json").write_text(text)
    assert SenderState.read(tmp_path) == SenderState()


def test_the_key_survives_a_move_and_differs_for_other_runs(tmp_path: Path) -> None:
    def key(folder: str, text: str) -> str:
        with Journal(tmp_path / folder) as journal:
            journal.message(text)
        return key_of(tmp_path / folder)

    first = key("a/run", "one")
    assert key("a/run", "two") == first  # the journal grows
    (tmp_path / "a").rename(tmp_path / "moved")
    assert key_of(tmp_path / "moved" / "run") == first
    (tmp_path / "moved" / "run").rename(tmp_path / "other")
    assert key_of(tmp_path / "other") != first  # a copy that goes on under another name
    assert key("b/run", "three") != first


def test_passwords_are_removed() -> None:
    assert server_of("https://me:secret@host:5000/x") == "https://host:5000/x"
    assert server_of("postgresql+psycopg2://me:secret@db/x?password=secret") == "postgresql+psycopg2://db/x"
    assert server_of("sqlite:////home/me@work/mlflow.db") == "sqlite:////home/me@work/mlflow.db"
