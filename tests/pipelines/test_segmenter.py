"""The scoring network from drawn scenes to the scores of an evaluation, and what is refused."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cyclegan_dist.config.palettes import open_palette
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.streets import write_streets
from pipelines import palette as drawing
from pipelines import segmenter as pipeline
from tests.conftest import Answer, write_images


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("streets") / "data"
    write_streets(out, {"": 40, "test": 8}, open_palette("streets"), size=16, seed=0, overwrite=False)
    return out


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Callable[..., Answer]:
    return partial(command, pipeline.main)


def test_the_network_learns_and_the_same_seed_gives_the_same_file(cli, streets: Path, tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        options = ("--palette", "streets", "--epochs", 4, "--batch-size", 8, "--device", "cpu")
        code, out, err = cli(streets, *options, "--out", tmp_path / "s.safetensors", "--held-out", streets / "test")
        assert code == 0, err
        losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", out)]
        assert len(losses) == 4 and losses[-1] < losses[0] / 2
        (accuracy,) = re.findall(r"pixel accuracy ([\d.]+)", out)
        assert float(accuracy) > 0.6  # the most frequent class has 0.3
        made.append((tmp_path / "s.safetensors").read_bytes())
    assert made[0] == made[1]
    length = int.from_bytes(made[0][:8], "little")
    card = json.loads(json.loads(made[0][8 : 8 + length])["__metadata__"]["card"])
    assert card["held_out"]["pairs"] == 8 and card["pairs"] == 40 and card["classes"][0] == ["road", [128, 64, 128]]


def test_photos_may_have_the_size_of_the_generators_and_every_tenth_pair_is_held_out(
    cli, streets: Path, tmp_path: Path
) -> None:
    options = ("--palette", "streets", "--size", 8, "--epochs", 1, "--device", "cpu")
    code, _, err = cli(streets, *options, "--out", tmp_path / "s.safetensors")
    assert code == 0, err
    assert b'\\"held_out\\": {\\"pairs\\": 4,' in (tmp_path / "s.safetensors").read_bytes()


@pytest.mark.parametrize("case", ["unpaired", "no maps", "one class", "no palette", "no network", "unwritable"])
def test_bad_input_is_one_line(cli, streets: Path, tmp_path: Path, case: str) -> None:
    data, options = streets, ["--palette", "streets", "--out", tmp_path / "s.safetensors", "--epochs", 1]
    expected = {
        "unpaired": "has no pairs, and a scoring network learns from pairs",
        "no maps": "is no label map of this palette",
        "one class": "the label maps hold sky only",
        "no palette": "no palette 'street': did you mean streets?",
        "no network": "no segmentation network fcn_resnet5",
        "unwritable": "cannot write /proc/s.safetensors",
    }[case]
    if case in ("unpaired", "no maps"):
        a, b = write_images(tmp_path / "A", 2, size=16), write_images(tmp_path / "B", 2, size=16)
        pairs = "none" if case == "unpaired" else "names"
        data = prepare(PrepareConfig(a, b, tmp_path / "data", pairs=pairs, workers=1)).parent
    elif case == "one class":
        (tmp_path / "p.yaml").write_text(
            "domain: B\nclasses: {sky: [70, 130, 180], boat: [0, 255, 255]}\nignored: {road: [128, 64, 128], "
            "pavement: [244, 35, 232], building: [70, 70, 70], vegetation: [107, 142, 35], car: [0, 0, 142], "
            "person: [220, 20, 60], sign: [220, 220, 0]}\n"
        )
        options += ["--palette", tmp_path / "p.yaml"]
    elif case == "no palette":
        options += ["--palette", "street"]
    elif case == "no network":
        options += ["--network", "fcn_resnet5"]
    elif case == "unwritable":
        options += ["--out", "/proc/s.safetensors"]
    code, _, err = cli(data, *options)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and expected in err


def test_scenes_are_drawn_by_a_command(command: Callable[..., Answer], tmp_path: Path) -> None:
    sizes = ("--size", 16, "--images", 3, "--test-images", 2)
    code, out, _ = command(drawing.main, tmp_path / "out", *sizes)
    assert code == 0 and f"2 scenes to evaluate on: {tmp_path / 'out' / 'test'}" in out
    code, _, err = command(drawing.main, tmp_path / "out", *sizes, "--seed", 1)
    assert code == 2 and "holds another data set" in err
    code, _, err = command(drawing.main, tmp_path / "out", "--size", 8)
    assert code == 2 and "give --size of at least 16" in err and err.count("\n") == 1
