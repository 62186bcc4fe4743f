from pathlib import Path

import pytest

from cyclegan_dist.storage.urls import file_system_at, sqlite_path, sqlite_uri

NAMES = ["plain", "50%", "%41", "a::b", "file:x", "a?b#c", "s3::zip", "ä b", "x" * 255]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_url_is_a_local_path(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(name)
    files, path = file_system_at(str(tmp_path / name))
    assert files.cat_file(path).decode() == name
    assert "file" in files.protocol


def test_urls_are_opened_as_such() -> None:
    files, path = file_system_at("memory://some/where")
    assert "memory" in files.protocol and path == "/some/where"


@pytest.mark.parametrize("name", NAMES)
def test_a_database_of_any_name_is_found_by_its_uri(tmp_path: Path, name: str) -> None:
    url = pytest.importorskip("sqlalchemy.engine").make_url(sqlite_uri(tmp_path / name))
    assert url.database == str(tmp_path / name) and not url.query
    assert sqlite_path(sqlite_uri(tmp_path / name)) == tmp_path / name


def test_other_uris_are_no_files() -> None:
    assert sqlite_path("http://localhost:5000") is None
    assert sqlite_path("sqlite:////tmp/mlflow.db?timeout=5") == Path("/tmp/mlflow.db")
