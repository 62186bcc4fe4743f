from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan_dist.methods.config import CycleGANConfig
from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_dist.snapshot import save_snapshot
from pipelines import translate
from tests.conftest import Answer, size_of, write_images

CONFIG = CycleGANConfig(generator=GeneratorConfig(ngf=4, n_blocks=1), discriminator=DiscriminatorConfig(ndf=4))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    save_snapshot(tmp_path / "run" / "snapshots" / "nimg-000000008", CycleGAN(CONFIG).generators, CONFIG, {"nimg": 8})
    return tmp_path / "run"


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Callable[..., Answer]:
    return partial(command, translate.main)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of three sizes and kinds, one of them in a folder of its own."""
    folder = write_images(tmp_path / "in", 3, size=20)
    write_images(folder / "deep", 2, size=33, extension="JPG")
    Image.new("L", (7, 50)).save(folder / "grey.tiff")
    return folder


def test_a_folder_keeps_its_names_and_sizes(cli, run_dir: Path, images: Path, tmp_path: Path) -> None:
    code, out, _ = cli(run_dir, images, tmp_path / "out", "--batch-size", 2)
    assert code == 0
    assert "6 images translated" in out
    names = [path.relative_to(images) for path in images.rglob("*.*")]
    assert sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*")) == sorted(names)
    for name in names:
        assert size_of(tmp_path / "out" / name) == size_of(images / name)


def test_batches_and_single_images_give_the_same(cli, run_dir: Path, images: Path, tmp_path: Path) -> None:
    cli(run_dir, images, tmp_path / "one", "--batch-size", 1)
    cli(run_dir, images, tmp_path / "many", "--batch-size", 4)
    for name in ("0000.png", "0002.png"):
        one, many = (np.asarray(Image.open(tmp_path / out / name)).astype(int) for out in ("one", "many"))
        assert np.abs(one - many).max() <= 1


def test_one_image_into_a_file_or_a_folder(cli, run_dir: Path, images: Path, tmp_path: Path) -> None:
    assert cli(run_dir, images / "0000.png", tmp_path / "new" / "x.png")[0] == 0
    assert size_of(tmp_path / "new" / "x.png") == (20, 20)
    assert cli(run_dir, images / "0000.png", tmp_path / "new")[0] == 0
    assert (tmp_path / "new" / "0000.png").exists()


def test_directions_are_different_networks(cli, run_dir: Path, images: Path, tmp_path: Path) -> None:
    for direction in ("AB", "BA"):
        assert (
            cli(run_dir / "snapshots" / "nimg-000000008", images, tmp_path / direction, "--direction", direction)[0]
            == 0
        )
    assert (tmp_path / "AB" / "0000.png").read_bytes() != (tmp_path / "BA" / "0000.png").read_bytes()


def test_an_unreadable_image_is_named_and_the_others_are_done(cli, run_dir: Path, images: Path, tmp_path: Path) -> None:
    (images / "broken.png").write_text("no")
    code, out, err = cli(run_dir, images, tmp_path / "out")
    assert code == 1
    assert "6 images translated" in out and "broken.png" in err


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("no model", "neither a snapshot nor a run"),
        ("no input", "neither an image nor a folder"),
        ("empty input", "holds no images"),
        ("onto itself", "overwrite the input"),
        ("no device", "--device warp"),
        ("no place", "cannot write"),
    ],
)
def test_bad_input_is_one_line(cli, run_dir: Path, images: Path, tmp_path: Path, case: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    arguments = {
        "no model": [tmp_path / "empty", images, tmp_path / "out"],
        "no input": [run_dir, tmp_path / "nowhere", tmp_path / "out"],
        "empty input": [run_dir, tmp_path / "empty", tmp_path / "out"],
        "onto itself": [run_dir, images, images],
        "no device": [run_dir, images, tmp_path / "out", "--device", "warp"],
        "no place": [run_dir, images, "/proc/out"],
    }[case]
    code, _, err = cli(*arguments)
    assert code == 2
    assert err.startswith("error: ") and says in err and err.count("\n") == 1
