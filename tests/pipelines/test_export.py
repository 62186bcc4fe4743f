from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cyclegan_dist.models import export
from cyclegan_dist.models.export import Network
from pipelines import export as export_command
from pipelines import translate
from tests.conftest import Answer, write_images
from tests.models.test_export import make


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return make(tmp_path / "snapshot")


def test_the_table_and_a_snapshot_to_use(
    command: Callable[..., Answer],
    snapshot: Path,
    tmp_path: Path,
) -> None:
    code, out, err = command(export_command.main, snapshot, tmp_path / "out", "--formats", "safetensors")
    assert (code, err) == (0, "")
    assert "G_AB.safetensors" in out and "40x72" in out and "0.0e+00" in out and "exports.json" in out
    images = write_images(tmp_path / "in", 1)
    assert command(translate.main, tmp_path / "out", images, tmp_path / "translated")[0] == 0


def test_a_difference_ends_with_1(
    command: Callable[..., Answer],
    snapshot: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def other(network: torch.nn.Module, path: Path) -> Network:
        path.write_bytes(b"")
        return lambda x: network(x) + 2e-4

    monkeypatch.setattr(export, "_to_pt2", other)
    code, out, _ = command(export_command.main, snapshot, tmp_path / "out", "--formats", "pt2")
    assert code == 1
    assert "not as the original, by more than 0.0001: G_AB.pt2, G_BA.pt2" in out
