import json
from pathlib import Path

import pytest

from cyclegan_dist.step.finite import NonFiniteError
from cyclegan_dist.storage.layout import Failure, RunFolder, Status


def test_a_failure_is_read_as_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_failure() is None
    folder.write_failure(NonFiniteError("step 4: the gradient of player G"), rank=3)
    assert folder.read_failure() == Failure("NonFiniteError", "step 4: the gradient of player G", 3)
    assert [path.name for path in tmp_path.iterdir()] == ["FAILED"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("step 4: a gradient of player G is not finite, no weight was changed", "NonFiniteError"),
        ("a shard is gone", ""),
        ('"a shard is gone"', ""),
        ("{}", ""),
        ("", ""),
    ],
)
def test_text_of_older_versions_is_read(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "FAILED").write_text(text)
    assert RunFolder(tmp_path).read_failure() == Failure(error, text)


def test_statuses_are_plain_strings_in_json() -> None:
    assert json.dumps(list(Status)) == '["FINISHED", "KILLED", "FAILED", "SUPERSEDED", "RESERVE"]'


def test_the_lock_is_beside_the_folder(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "run").lock == tmp_path / ".run.lock"
