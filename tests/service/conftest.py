from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.running import make_snapshot, running


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_snapshot(tmp_path_factory.mktemp("snapshot") / "tiny")


@pytest.fixture(scope="module")
def service(snapshot: Path) -> Iterator[str]:
    """The URL of a service that computes in this process."""
    with running(snapshot) as url:
        yield url
