"""Trainings on two folders of images, without a data set."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cyclegan_dist.config.config import Config
from cyclegan_dist.data import prepare as preparing
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.errors import UsageError
from cyclegan_dist.training.run_folder import read_config
from tests.conftest import make_run, write_images
from tests.training.trainings import go

Opened = Callable[..., Config]
PAIRED = {"method__name": "pix2pix", "method__generator__arch": "resnet"}


@pytest.fixture
def opened(own_home: Path, folders: tuple[Path, Path]) -> Opened:
    """Opens a tiny run of the two folders."""
    a, b = folders
    return lambda **changes: make_run(own_home, **{"data__A": str(a), "data__B": str(b), **changes})


def _digest(config: Config) -> str:
    return open_manifest(config.data.path).domain_digest("A")


def unused(*arguments: Any, **options: Any) -> None:
    raise AssertionError("prepared again")


def test_two_folders_are_prepared_once_for_all_runs(opened: Opened, own_home: Path, monkeypatch) -> None:
    config = opened()
    assert Path(config.data.path).parent == own_home / "runs" / ".data"
    assert open_manifest(config.data.path).samples == {"A": 7, "B": 10}
    assert open_manifest(config.data.path, ("width",)).table["width"].to_pylist() == [20] * 17  # data.load_size
    monkeypatch.setattr(preparing, "prepare", unused)
    assert opened(stop_after=8).data.path == config.data.path
    assert opened(name="other").data.path == config.data.path
    assert opened(name="third", data__A="A", data__B="./B").data.path == config.data.path
    assert opened(name="preset", data__path="synthetic").data.path == config.data.path


def test_a_run_keeps_the_images_that_it_began_with(opened: Opened, folders, capsys, monkeypatch) -> None:
    config = opened(stop_after=4)
    go(config)
    write_images(folders[0], 7, seed=5)  # the same names
    capsys.readouterr()
    again = opened(stop_after=8)
    assert again.data.path == config.data.path and go(again) == "FINISHED"
    said = capsys.readouterr().err
    assert "data.A or data.B has changed since run tiny began: it goes on with the images that it began with" in said
    other = opened(name="other")
    assert other.data.path != config.data.path and open_manifest(other.data.path).domain_digest("A") != _digest(config)
    for folder in folders:
        shutil.rmtree(folder)
    assert opened(stop_after=10).data.path == config.data.path
    recorded = read_config(config.run_dir).data  # alone it is enough
    assert opened(stop_after=12, data__path=recorded.path).data.path == config.data.path
    assert opened(stop_after=12, data__path=recorded.path, data__A="", data__B="").data.path == config.data.path


def test_without_the_prepared_images_a_changed_folder_cannot_resume(opened: Opened, folders) -> None:
    config = opened(stop_after=4)
    go(config)
    shutil.rmtree(config.data.path)
    assert opened(stop_after=8).data.path == config.data.path  # prepared again: the same bytes
    shutil.rmtree(config.data.path)
    write_images(folders[0], 9, seed=5)
    with pytest.raises(UsageError, match="is not the data set that run tiny has been trained on"):
        opened(stop_after=8)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data__B": ""}, "give data.A and data.B together"),
        ({"data__A": "s3://bucket/photos"}, "must be local, and s3://bucket/photos is not"),
        ({"data__A": "B"}, "both domains are .*B: give the images of the other one as B"),
        ({"data__A": "nowhere"}, "nowhere is not a folder: give a folder of images"),
        ({"data__path": "else"}, "data.path else was not prepared from data.A and data.B: give either"),
        (PAIRED, "has no partner with its name.*--data.path OUT"),
    ],
)
def test_bad_input_is_one_line_and_nothing_stays(
    opened: Opened, own_home: Path, changes: dict[str, str], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason) as error:
        opened(**changes)
    assert "\n" not in str(error.value)
    assert not (own_home / "runs" / "tiny").exists()
    assert not list(own_home.glob("runs/.data/*/manifest.parquet"))


def test_two_processes_prepare_once(opened: Opened, monkeypatch) -> None:
    calls: list[int] = []
    real = preparing.prepare

    def counted(*arguments: Any, **options: Any) -> Path:
        calls.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr(preparing, "prepare", counted)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda name: opened(name=name), ["one", "two"])
    assert one.data.path == two.data.path and calls == [1]
    assert json.loads((Path(one.data.path) / "sources.json").read_text()) == {"A": one.data.A, "B": one.data.B}


def test_methods_of_pairs_get_images_of_the_same_name(opened: Opened, folders) -> None:
    for name in ("0007.png", "0008.png", "0009.png"):
        (folders[1] / name).unlink()
    assert open_manifest(opened(**PAIRED).data.path).paired
