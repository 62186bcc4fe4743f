import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan_dist.data.images import decode
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.inference import translate
from cyclegan_dist.models.snapshot import Snapshot, save_snapshot
from cyclegan_dist.networks.config import GeneratorConfig
from tests.conftest import write_images
from tests.translation.conftest import contents


@pytest.mark.parametrize(("direction", "count"), [("AB", 7), ("BA", 10)])
def test_shards_keep_their_names_and_keys(
    cli, snapshot: Path, dataset: Path, tmp_path: Path, direction: str, count: int
) -> None:
    code, out, _ = cli(snapshot, dataset, tmp_path / "out", "--direction", direction)
    assert code == 0 and f"{count} images translated" in out
    domain, manifest = direction[0], open_manifest(str(dataset))
    names = sorted(path.relative_to(dataset) for path in (dataset / domain).glob("*.tar"))
    assert sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*")) == names
    reader, generator = ShardReader(manifest, domain), Snapshot.open(snapshot).generator(direction)
    samples = {}
    for name in names:
        with tarfile.open(tmp_path / "out" / name) as tar:
            samples |= {member.name: tar.extractfile(member).read() for member in tar}  # pyright: ignore
    assert list(samples) == [f"{reader.key(i)}.png" for i in range(count)]
    for i, data in enumerate(samples.values()):
        assert torch.equal(decode(data, 3), translate(generator, decode(reader.read(i), 3)[None])[0])


def test_a_model_trained_on_exchanged_domains_translates_the_other_one(
    cli, snapshot: Path, dataset: Path, tmp_path: Path
) -> None:
    card = json.loads((snapshot / "card.json").read_text())
    (snapshot / "card.json").write_text(json.dumps(card | {"preprocess": {"direction": "BtoA"}}))
    code, out, _ = cli(snapshot, dataset, tmp_path / "out", "--direction", "AB")
    assert code == 0 and "10 images translated" in out
    names = [path.relative_to(dataset) for path in (dataset / "B").glob("*.tar")]
    assert sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*")) == sorted(names)
    with tarfile.open(tmp_path / "out" / sorted(names)[0]) as tar:
        first = tar.extractfile(tar.getmembers()[0]).read()  # pyright: ignore
    reader, generator = ShardReader(open_manifest(str(dataset)), "B"), Snapshot.open(snapshot).generator("AB")
    assert torch.equal(decode(first, 3), translate(generator, decode(reader.read(0), 3)[None])[0])


def test_shards_are_the_same_bytes_each_time(cli, snapshot: Path, dataset: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        assert cli(snapshot, dataset / "manifest.parquet", tmp_path / out)[0] == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    with tarfile.open(next((tmp_path / "one").rglob("*.tar"))) as tar:
        assert {member.mtime for member in tar} == {0}


def test_a_damaged_sample_is_named_and_the_others_are_done(cli, snapshot: Path, dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    shard = next((copy / "A").iterdir())
    with tarfile.open(shard) as tar:
        member = tar.getmembers()[1]
    content = bytearray(shard.read_bytes())
    content[member.offset_data + 9] ^= 1
    shard.write_bytes(content)
    code, out, err = cli(snapshot, copy, tmp_path / "out")
    assert code == 1 and "6 images translated" in out
    assert f"A/{member.name.split('.')[0]}: its bytes differ from the manifest" in err


def test_into_the_data_set_itself_is_refused(cli, snapshot: Path, dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    code, _, err = cli(snapshot, copy, copy)
    assert code == 2 and "overwrite the input" in err
    assert contents(copy) == contents(dataset)


def test_large_images_are_tiled(cli, snapshot: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 1, size=70)
    write_images(images / "small", 1, size=20)
    for out, options in (("whole", []), ("tiled", ["--tile", "32"])):
        assert cli(snapshot, images, tmp_path / out, *options)[0] == 0
    large = [np.asarray(Image.open(tmp_path / out / "0000.png")).astype(int) for out in ("whole", "tiled")]
    assert np.abs(large[0] - large[1]).max() <= 1
    small = "small/0000.png"
    assert (tmp_path / "whole" / small).read_bytes() == (tmp_path / "tiled" / small).read_bytes()
    code, _, err = cli(snapshot, images, tmp_path / "out", "--tile", 8)
    assert code == 2 and "at least 32" in err


def test_a_unet_is_not_tiled_and_nothing_is_left_behind(cli, tmp_path: Path) -> None:
    config = CycleGANConfig(generator=GeneratorConfig(arch="unet", ngf=2, n_downs=5))
    unet = save_snapshot(tmp_path / "unet", CycleGAN(config).translators, config, {"nimg": 8})
    images = write_images(tmp_path / "in", 1, size=40)
    code, _, err = cli(unet, images, tmp_path / "out", "--tile", 32)
    assert code == 2 and "this one is a U-Net" in err and err.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert cli(unet, images, tmp_path / "out")[0] == 0
