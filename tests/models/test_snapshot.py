import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from cyclegan_dist.errors import UsageError
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import FORMAT, Snapshot, save_snapshot
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig

CONFIG = CycleGANConfig(
    input_nc=1,
    lambda_identity=0,
    generator=GeneratorConfig(ngf=4, n_blocks=1),
    discriminator=DiscriminatorConfig(ndf=4),
)


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return save_snapshot(tmp_path / "snapshots" / "nimg-000000010", CycleGAN(CONFIG).translators, CONFIG, {"nimg": 10})


def test_both_directions_come_back(tmp_path: Path) -> None:
    method = CycleGAN(CONFIG)
    folder = save_snapshot(tmp_path / "s", method.translators, CONFIG, {"nimg": 10})
    for direction, channels in (("AB", 1), ("BA", 3)):
        x = torch.rand(1, channels, 16, 16)
        assert torch.equal(Snapshot.open(folder).generator(direction)(x), method.networks[f"G_{direction}"](x))
    card = json.loads((folder / "card.json").read_text())
    assert (card["nimg"], card["input_nc"], card["generator"]["ngf"]) == (10, 1, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def test_the_newest_of_a_run_is_found(snapshot: Path, tmp_path: Path) -> None:
    newest = save_snapshot(tmp_path / "snapshots" / "nimg-000000200", CycleGAN(CONFIG).translators, CONFIG, {})
    (tmp_path / "snapshots" / "nimg-000000999").mkdir()  # not whole: no card
    assert Snapshot.open(tmp_path).folder == newest
    assert Snapshot.open(snapshot).folder == snapshot


@pytest.mark.parametrize("damage", ["weights gone", "weights cut", "card cut", "other width"])
def test_damage_is_reported_in_one_line(snapshot: Path, damage: str) -> None:
    weights, card = snapshot / "G_AB.safetensors", snapshot / "card.json"
    if damage == "weights gone":
        weights.unlink()
    elif damage == "weights cut":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "card cut":
        card.write_text(card.read_text()[:40])
    else:
        card.write_text(card.read_text().replace('"ngf": 4', '"ngf": 8'))
    with pytest.raises(UsageError, match=r"damaged|no snapshot") as error:
        Snapshot.open(snapshot).generator("AB")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["card.json", "G_BA.safetensors"])
def test_a_pipe_in_its_folder_is_refused_and_not_read(snapshot: Path, name: str) -> None:
    (snapshot / name).unlink()
    os.mkfifo(snapshot / name)
    with pytest.raises(UsageError, match=r"no regular file|neither a snapshot"):
        Snapshot.open(snapshot)


def test_a_folder_without_snapshots_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a snapshot nor a run"):
        Snapshot.open(tmp_path)


def test_a_newer_format_is_refused_with_advice(snapshot: Path) -> None:
    card = json.loads((snapshot / "card.json").read_text())
    assert card["format"] == FORMAT
    (snapshot / "card.json").write_text(json.dumps(card | {"format": FORMAT + 1, "generator": {"new": 1}}))
    with pytest.raises(UsageError, match=rf"has format {FORMAT + 1}, and this .* up to {FORMAT}: update cyclegan_dist"):
        Snapshot.open(snapshot)


def test_a_card_from_before_methods_and_formats(snapshot: Path) -> None:
    card = json.loads((snapshot / "card.json").read_text())
    old = {key: card[key] for key in ("nimg", "input_nc", "output_nc", "generator")}
    (snapshot / "card.json").write_text(json.dumps(old))
    opened = Snapshot.open(snapshot)
    assert (opened.method, opened.directions, opened.preprocess) == ("cyclegan", ("AB", "BA"), {})
    assert (opened.channels("AB"), opened.channels("BA")) == ((1, 3), (3, 1))


def test_the_digest_is_of_weights_and_card_wherever_they_are(snapshot: Path, tmp_path: Path) -> None:
    files = [(snapshot / name).read_bytes() for name in ("G_AB.safetensors", "G_BA.safetensors", "card.json")]
    together = b"".join(hashlib.sha256(content).digest() for content in files)
    assert Snapshot.open(snapshot).digest() == hashlib.sha256(together).hexdigest()
    copy = Snapshot.open(shutil.copytree(snapshot, tmp_path / "copy"))
    assert copy.digest() == Snapshot.open(snapshot).digest()
    (copy.folder / "card.json").write_text((copy.folder / "card.json").read_text() + " ")
    assert copy.digest() != Snapshot.open(snapshot).digest()
