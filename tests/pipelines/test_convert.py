from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from cyclegan_dist.models.snapshot import Snapshot
from pipelines import convert, translate
from tests.conftest import Answer, size_of, write_images
from tests.models.test_reference_weights import Resnet


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Callable[..., Answer]:
    return partial(command, convert.main)


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A checkpoint folder of the published implementation."""
    (tmp_path / "horses").mkdir()
    norm = getattr(request, "param", "instance")
    for letter, channels in (("A", (3, 1)), ("B", (1, 3))):
        state = Resnet(*channels, 4, 2, norm=norm).state_dict()
        torch.save(state, tmp_path / "horses" / f"latest_net_G_{letter}.pth")
    return tmp_path / "horses"


@pytest.mark.parametrize("folder", ["instance", "batch", "none"], indirect=True)
def test_a_round_trip_is_lossless(cli, folder: Path, tmp_path: Path) -> None:
    code, out, err = cli(folder, tmp_path / "ours")
    assert (code, err) == (0, "")
    assert "latest_net_G_A.pth -> G_AB: --netG resnet_2blocks --ngf 4" in out and "3 to 1 channels" in out
    card = Snapshot.open(tmp_path / "ours").card
    assert (card["input_nc"], card["output_nc"], card["directions"]) == (3, 1, ["AB", "BA"])
    code, out, _ = cli("--back", tmp_path / "ours", tmp_path / "theirs")
    assert code == 0 and "G_BA -> " in out
    for letter in "AB":
        one, two = (
            torch.load(place / f"latest_net_G_{letter}.pth", weights_only=True)
            for place in (folder, tmp_path / "theirs")
        )
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_one_direction_translates_and_the_other_is_refused(cli, command, folder: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "in", 1, size=20)
    assert cli(folder / "latest_net_G_A.pth", tmp_path / "one")[0] == 0
    assert command(translate.main, tmp_path / "one", images, tmp_path / "out")[0] == 0
    assert size_of(tmp_path / "out" / "0000.png") == (20, 20)
    code, _, err = command(translate.main, tmp_path / "one", images, tmp_path / "back", "--direction", "BA")
    assert code == 2
    assert err == (f"error: direction BA: snapshot {tmp_path / 'one'} translates A to B only; choose direction AB\n")
    assert cli("--back", tmp_path / "one", tmp_path / "theirs")[0] == 0
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["latest_net_G_A.pth"]


def test_a_file_of_another_name_and_of_another_epoch(cli, folder: Path, tmp_path: Path) -> None:
    single = folder / "latest_net_G.pth"
    (folder / "latest_net_G_A.pth").rename(single)
    code, _, err = cli(single, tmp_path / "out")
    assert code == 2 and "add --direction" in err
    assert cli(single, tmp_path / "out", "--direction", "BA")[0] == 0
    assert Snapshot.open(tmp_path / "out").generator("BA")(torch.zeros(1, 3, 16, 16)).shape == (1, 1, 16, 16)
    (folder / "latest_net_G_B.pth").rename(folder / "200_net_G_B.pth")
    code, _, err = cli(folder, tmp_path / "other")
    assert code == 2 and "name them with --g-a and --g-b" in err
    assert cli(folder, tmp_path / "other", "--g-b", "200_net_G_B.pth")[0] == 0
    assert Snapshot.open(tmp_path / "other").card["directions"] == ["BA"]


def test_only_an_earlier_conversion_is_replaced(cli, folder: Path, tmp_path: Path) -> None:
    code, _, err = cli(folder, folder, "--overwrite")
    assert code == 2 and "choose another folder" in err and (folder / "latest_net_G_A.pth").exists()
    assert cli(folder, tmp_path / "ours")[0] == 0
    code, _, err = cli(folder, tmp_path / "ours")
    assert code == 2 and "pass --overwrite" in err
    assert cli(folder, tmp_path / "ours", "--overwrite")[0] == 0
    code, _, err = cli("--back", tmp_path / "ours", folder)
    assert code == 2 and "pass --overwrite" in err
    assert cli("--back", tmp_path / "ours", folder, "--overwrite")[0] == 0


@pytest.mark.parametrize(("change", "says"), [("ngf", "--ngf 6"), ("channels", "3 to 3 channels")])
def test_generators_that_do_not_fit_each_other(cli, folder: Path, tmp_path: Path, change: str, says: str) -> None:
    other = Resnet(1, 3, 6, 2) if change == "ngf" else Resnet(3, 3, 4, 2)
    torch.save(other.state_dict(), folder / "latest_net_G_B.pth")
    code, _, err = cli(folder, tmp_path / "out")
    assert code == 2
    assert "do not fit each other" in err and says in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()
