from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.routing import Route

from cyclegan_dist.models.snapshot import Snapshot
from cyclegan_dist.service.app import make_app
from cyclegan_dist.service.messages import ServedModel
from cyclegan_dist.service.origins import AllowedHosts
from tests.service.running import LIMITS, make_snapshot, running


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_snapshot(tmp_path_factory.mktemp("snapshot") / "tiny")


@pytest.fixture(scope="module")
def service(snapshot: Path) -> Iterator[str]:
    """The URL of a service that computes in this process."""
    with running(snapshot) as url:
        yield url


@pytest.fixture(scope="session")
def routes(snapshot: Path) -> list[Route]:
    """Of the service."""
    model = ServedModel(name="tiny", snapshot=Snapshot.open(snapshot))
    app = make_app("tiny", lambda: model, LIMITS, AllowedHosts(frozenset()), cast(Any, None))
    return [route for route in app.routes if isinstance(route, Route)]
