import hashlib
import json
import zipfile
from pathlib import Path
from typing import Literal

import pytest
import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models import export
from cyclegan_dist.models.export import disagreeing, export_generators
from cyclegan_dist.models.snapshot import Snapshot, save_snapshot
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig, InitConfig


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return Snapshot.open(make(tmp_path / "snapshot"))


SMALL = GeneratorConfig(ngf=4, n_blocks=1)


def make(folder: Path, generator: GeneratorConfig = SMALL, output_nc: int = 1) -> Path:
    config = CycleGANConfig(
        output_nc=output_nc,
        lambda_identity=0,
        generator=generator,
        init=InitConfig(gain=0.3),
        discriminator=DiscriminatorConfig(ndf=4),
    )
    return save_snapshot(folder, CycleGAN(config).translators, config, {"nimg": 8})


def only(snapshot: Path, direction: str) -> Snapshot:
    """Make a snapshot one of a single direction."""
    card = json.loads((snapshot / "card.json").read_text())
    (snapshot / "card.json").write_text(json.dumps(card | {"directions": [direction]}))
    return Snapshot.open(snapshot)


@pytest.mark.slow
def test_every_format_is_written_and_equal_to_the_original(snapshot: Snapshot, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    snapshot = only(snapshot.folder, "AB")
    out = tmp_path / "out"
    exports = export_generators(snapshot, out)
    assert disagreeing(exports) == []
    assert json.loads((out / "exports.json").read_text()) == exports
    assert [entry["file"] for entry in exports["files"]] == ["G_AB.safetensors", "G_AB.pt2", "G_AB.onnx"]
    for entry in exports["files"]:
        content = (out / entry["file"]).read_bytes()
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        assert list(entry["max_difference"]) == ["64x64", "96x128", "40x72"] and entry["ms_per_image"] > 0
    # The files themselves, at a size and a batch that nobody has tried yet.
    x = torch.rand(5, 3, 20, 52) * 2 - 1
    truth = snapshot.generator("AB")(x)
    assert torch.equal(Snapshot.open(out).generator("AB")(x), truth)
    assert (torch.export.load(out / "G_AB.pt2").module()(x) - truth).abs().max() < 1e-5
    session = onnxruntime.InferenceSession(out / "G_AB.onnx", providers=["CPUExecutionProvider"])
    assert (torch.from_numpy(session.run(None, {"image": x.numpy()})[0]) - truth).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # from torch.export of torch 2.11
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_unet_and_one_direction(tmp_path: Path, norm: Literal["instance", "batch"]) -> None:
    unet = make(tmp_path / "unet", GeneratorConfig(arch="unet", ngf=2, n_downs=5, norm=norm), output_nc=3)
    snapshot = only(unet, "BA")
    exports = export_generators(snapshot, tmp_path / "out", ["pt2"])
    assert [entry["file"] for entry in exports["files"]] == ["G_BA.pt2"]
    assert list(exports["files"][0]["max_difference"]) == ["32x32", "32x64", "64x32"]
    assert disagreeing(exports) == []
    with zipfile.ZipFile(tmp_path / "out" / "G_BA.pt2") as archive:  # nothing in it is a pickle
        content = {name: archive.read(name) for name in archive.namelist()}
    assert [name for name, data in content.items() if data.startswith((b"PK", b"\x80"))] == []


def test_a_file_that_differs_is_named(snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(network: torch.nn.Module, path: Path) -> export.Network:
        path.write_bytes(b"")
        return lambda x: network(x) + (2e-4 if path.stem == "G_AB" else torch.nan)

    monkeypatch.setattr(export, "_to_pt2", other)
    exports = export_generators(snapshot, tmp_path / "out", ["safetensors", "pt2"])
    assert disagreeing(exports) == ["G_AB.pt2", "G_BA.pt2"]


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("format", "format tflite: choose from safetensors, pt2, onnx"),
        ("none", "no format"),
        ("no onnx", r"pip install 'cyclegan_dist\[onnx\]'"),
        ("itself", "the snapshot itself"),
        ("no place", "cannot write"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, says: str
) -> None:
    formats = {"format": ["tflite"], "none": [], "no onnx": ["onnx"]}.get(case, ["safetensors"])
    if case == "no onnx":
        monkeypatch.setattr(export, "_ONNX", ("onnx", "no_such_library"))
    out = {"itself": snapshot.folder, "no place": Path("/proc/out")}.get(case, tmp_path / "out")
    with pytest.raises(UsageError, match=says) as error:
        export_generators(snapshot, out, formats)
    assert "\n" not in str(error.value)
    assert snapshot.generator("AB")
