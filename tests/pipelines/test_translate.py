from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cyclegan_dist.methods.cyclegan import CycleGAN
from cyclegan_dist.methods.cyclegan_config import CycleGANConfig
from cyclegan_dist.models.snapshot import save_snapshot
from cyclegan_dist.networks.config import DiscriminatorConfig, GeneratorConfig
from pipelines import translate
from tests.conftest import Answer, size_of, write_images

CONFIG = CycleGANConfig(generator=GeneratorConfig(ngf=4, n_blocks=1), discriminator=DiscriminatorConfig(ndf=4))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    save_snapshot(tmp_path / "run" / "snapshots" / "nimg-000000008", CycleGAN(CONFIG).translators, CONFIG, {"nimg": 8})
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
    written = {name: name.with_suffix(".png") if name.suffix == ".JPG" else name for name in names}  # lossless
    found = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*"))
    assert found == sorted(written.values())
    for name in names:
        assert size_of(tmp_path / "out" / written[name]) == size_of(images / name)


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


def test_an_animation_is_noted_and_odd_kinds_get_an_ending_that_fits(cli, run_dir: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 1)
    (images / "0000.png").rename(images / "no ending")
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "white")]
    frames[0].save(images / "x.gif", save_all=True, append_images=frames[1:])
    np.save(images / "y.npy", np.full((20, 20, 3), 60_000, np.uint16))
    code, _, err = cli(run_dir, images, tmp_path / "out")
    assert code == 0
    assert f"first of 3 frames taken: {images / 'x.gif'}" in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"no ending.png", "x.png", "y.npy"}


@pytest.mark.parametrize("link", ["file", "folder", "loop"])
def test_nothing_is_written_through_links(cli, run_dir: Path, images: Path, tmp_path: Path, link: str) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    for folder in (outside, out):
        folder.mkdir()
    (outside / "x").write_text("mine")
    if link == "file":
        (out / "0000.png").symlink_to(outside / "x")
    else:
        (out / "deep").symlink_to(outside if link == "folder" else "deep")
    code, _, err = cli(run_dir, images, out)
    assert code == 2
    assert "remove the link" in err
    assert [path.name for path in outside.iterdir()] == ["x"] and (outside / "x").read_text() == "mine"


def test_two_images_never_become_one_file(cli, run_dir: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 1)
    write_images(images, 1, extension="jpg")
    code, _, err = cli(run_dir, images, tmp_path / "out")
    assert code == 2
    assert "0000.jpg and " in err and "0000.png would both become 0000.png: rename one" in err


@pytest.fixture
def four_to_two(tmp_path: Path) -> Path:
    config = CycleGANConfig(
        input_nc=4,
        output_nc=2,
        lambda_identity=0,
        generator=GeneratorConfig(ngf=2, n_blocks=0),
        discriminator=DiscriminatorConfig(ndf=2),
    )
    return save_snapshot(tmp_path / "model", CycleGAN(config).translators, config, {"nimg": 1})


def test_other_channel_counts_come_and_go_as_arrays(cli, four_to_two: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 1)
    for name, channels in (("four.v1", 4), ("two", 2)):
        np.save(images / f"{name}.npy", np.zeros((9, 14, channels), np.uint8))
    code, out, err = cli(four_to_two, images, tmp_path / "out")
    assert code == 1
    assert "1 images translated" in out
    assert "0000.png: the image has 3 channels, and direction AB takes 4" in err and "two.npy: the image has 2" in err
    answer = np.load(tmp_path / "out" / "four.v1.npy")
    assert (answer.shape, answer.dtype) == ((9, 14, 2), np.uint8)
    code, _, err = cli(four_to_two, images / "four.v1.npy", tmp_path / "x.png")
    assert code == 2 and "8 bits and 2 channels: give tif or npy, which hold all" in err
    assert cli(four_to_two, tmp_path / "out", tmp_path / "back", "--direction", "BA")[0] == 0
    assert np.load(tmp_path / "back" / "four.v1.npy").shape == (9, 14, 4)
    code, _, err = cli(four_to_two, images, images)
    assert code == 2 and "overwrite the input" in err


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("no model", "neither a snapshot nor a run"),
        ("no input", "neither an image, a video nor a folder"),
        ("empty input", "holds no images"),
        ("onto itself", "overwrite the input"),
        ("no device", "device warp cannot be used here"),
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
