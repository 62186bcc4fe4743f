"""A run in an MLflow store, and worse copies of its generators."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file, save_file

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.domain_names import check_names
from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.evaluation.config import EvaluationConfig
from cyclegan_dist.models.snapshot import CARD, Snapshot
from tests.training.trainings import ALONE


@dataclass
class Setting:
    """A store, and one run's snapshot of which worse copies can be made."""

    config: Config
    dataset: Path

    def candidate(self, damage: float = 0.0, names: str = "") -> Any:
        """The run's snapshot with `damage` added to its weights, and with names of its domains."""
        from cyclegan_dist.promotion.promote import Candidate, find_candidate

        known = find_candidate(str(self.config.run_dir))
        if not damage:
            return known
        folder = self.config.run_dir.parent / f"damaged-{damage:g}"
        shutil.copytree(known.snapshot.folder, folder, dirs_exist_ok=True)
        for path in folder.glob("*.safetensors"):
            rng = torch.Generator().manual_seed(0)
            worse = {k: v + damage * torch.randn(v.shape, generator=rng) for k, v in load_file(path).items()}
            save_file(worse, path)
        if names:
            card = json.loads((folder / CARD).read_text())
            (folder / CARD).write_text(json.dumps({**card, "domain_names": check_names(names.split())}))
        return Candidate(Snapshot.open(folder), known.run_id, known.config)

    def promote(
        self,
        candidate: Any,
        *,
        veto: tuple[str, ...] = (),
        dry_run: bool = False,
        with_state: bool = False,
        author: Any = None,
    ) -> Any:
        from cyclegan_dist.promotion.gate import Gate
        from cyclegan_dist.promotion.promote import Promotion

        manifest = open_manifest(str(self.dataset), (*READING, "name"))
        gate = Gate(veto=veto)
        options = {"with_state": with_state, "author": author}
        promotion = Promotion("horses", manifest, gate, EvaluationConfig(), ALONE, **options)  # pyright: ignore
        return promotion(candidate, dry_run=dry_run)

    @staticmethod
    def aliases() -> dict[str, str]:
        from cyclegan_dist.registry.versions import Registered

        return Registered("horses").aliases()


@contextmanager
def promoting(config: Config, dataset: Path, home: Path) -> Iterator[Setting]:
    """A store of its own for a trained run. Exports, which take seconds, have tests of their own."""
    import mlflow

    from cyclegan_dist.registry.sources import use_store

    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db", "CYCLEGAN_DIST_HOME": str(home)}
    with (
        patch.dict(os.environ, store),
        patch("cyclegan_dist.promotion.evidence.available_formats", lambda: ["safetensors"]),
    ):
        mlflow.set_tracking_uri(use_store())
        yield Setting(config, dataset)
        mlflow.set_tracking_uri(None)
