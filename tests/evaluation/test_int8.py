"""8-bit ONNX files: written, compared, kept or not."""

import json
from pathlib import Path

import pytest

from cyclegan_dist.data.manifest import READING, open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.evaluation import int8
from cyclegan_dist.evaluation.figures import Figure
from cyclegan_dist.evaluation.int8 import export_int8
from cyclegan_dist.models.export import export_generators
from cyclegan_dist.models.snapshot import Snapshot
from tests.conftest import make_dataset
from tests.methods.teachers import write_teacher

onnx = pytest.importorskip("onnx")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A snapshot of one direction, with its ONNX file beside it."""
    folder = tmp_path_factory.mktemp("int8")
    snapshot = write_teacher(folder / "snapshot", ("BA",), preprocess={"preprocess": "none"})
    export_generators(snapshot, folder / "out", ["onnx"])
    return snapshot


def test_files_are_kept_where_translations_stay_as_good(
    exported: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = exported.folder.parent / "out"
    manifest = open_manifest(str(make_dataset(tmp_path)), (*READING, "name"))
    monkeypatch.setattr(int8, "LARGEST_RATIO", 1e9)
    monkeypatch.setattr(int8, "LARGEST_CHANGE", 255.0)
    (entry,) = export_int8(exported, out, manifest)
    assert entry["kept"] and entry["images"] == 5 and entry["last_convolution"] == "int8"
    assert 0 < entry["grey_levels"]["mean"] <= entry["grey_levels"]["max"]
    assert set(entry["kd/untrained"]) == set(entry["ms_per_image"]) == {"fp32", "int8"}
    assert json.loads((out / "exports.json").read_text())["int8"] == [entry]
    model = onnx.load(out / "G_BA.int8.onnx")
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    facts = {one.key: one.value for one in model.metadata_props}
    assert facts["precision"] == "int8 convolutions; fp32" and facts["snapshot"] == exported.digest()
    assert facts["translates"] == "B to A of run teacher"
    # And now one that changes too much, with and without the last convolution: nothing of it stays.
    monkeypatch.setattr(int8, "LARGEST_CHANGE", 0.0)
    (entry,) = export_int8(exported, out, manifest)
    assert not entry["kept"] and entry["last_convolution"] == "fp32"
    assert sorted(path.name for path in out.iterdir()) == ["G_BA.onnx", "exports.json"]


def test_noise_around_0_keeps_no_file_out(exported: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 bits cannot be told from real images, nor can 8, though their distance is larger."""
    found = iter([Figure.mean([-0.5, 0.0]), Figure.mean([-0.25, 0.75])])
    monkeypatch.setattr(int8, "kernel_distance", lambda *_: next(found))
    monkeypatch.setattr(int8, "LARGEST_CHANGE", 255.0)
    manifest = open_manifest(str(make_dataset(tmp_path)), (*READING, "name"))
    (entry,) = export_int8(exported, exported.folder.parent / "out", manifest)
    assert entry["kept"] and entry["kd/untrained"] == {"fp32": -0.25, "int8": 0.25}


def test_too_few_images_are_refused(exported: Snapshot, dataset: Path) -> None:
    manifest = open_manifest(str(dataset), (*READING, "name")).selected("AtoB", 6)
    with pytest.raises(UsageError, match="give 8 images of domain B or more"):
        export_int8(exported, exported.folder.parent / "out", manifest)
