import json
import shutil
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


def test_another_model_is_replaced_on_demand_only(
    command: Callable[..., Answer], snapshot: Path, tmp_path: Path
) -> None:
    other, out, how = tmp_path / "other", tmp_path / "out", ("--formats", "safetensors")
    shutil.copytree(snapshot, other)
    card = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps({**card, "run": "second"}))
    for _ in range(2):  # again is no harm
        assert command(export_command.main, snapshot, out, *how)[0] == 0
    before = (out / "exports.json").read_text()
    code, said, err = command(export_command.main, other, out, *how)
    assert (code, said) == (2, "") and "another model, of run " in err and err.endswith(", or pass --overwrite\n")
    assert (out / "exports.json").read_text() == before
    assert command(export_command.main, other, out, *how, "--overwrite")[0] == 0
    for source, target in ((snapshot, other), (other, snapshot)):  # snapshots, not exports
        code, _, err = command(export_command.main, source, target, *how, "--overwrite")
        assert code == 2 and err.endswith(": choose another OUT\n")
