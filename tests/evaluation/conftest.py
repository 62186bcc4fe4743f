"""A data set and a snapshot to measure."""

from pathlib import Path

import pytest

from cyclegan_dist.data.manifest import READING, Manifest, open_manifest
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.evaluation.measure import Evaluation, evaluate
from cyclegan_dist.models.snapshot import Snapshot
from tests.conftest import make_run
from tests.evaluation.functions import Function, Measure, generators
from tests.training.trainings import ALONE, go


@pytest.fixture(scope="module")
def opened(dataset: Path) -> Manifest:
    return open_manifest(str(dataset), (*READING, "name"))


@pytest.fixture(scope="module")
def snapshot(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Of a training of one step, for tests that only read it."""
    config = make_run(tmp_path_factory.mktemp("measured"), data__path=str(dataset), stop_after=2)
    go(config)
    return Snapshot.open(config.run_dir)


@pytest.fixture
def measured(snapshot: Snapshot, opened: Manifest) -> Measure:
    """Evaluates a pair of functions in place of the snapshot's generators."""

    def measure(there: Function, back: Function, manifest: Manifest = opened, **options: object) -> Evaluation:
        with generators(there, back):
            return evaluate(snapshot, manifest, EvaluationConfig(**options), ALONE)  # pyright: ignore

    return measure
