"""Commands that are refused before anything of a run changes."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cyclegan_dist.config.config import Config
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import UsageError
from cyclegan_dist.orchestration.launch import launch
from cyclegan_dist.step.distributed import World
from cyclegan_dist.training.data_checks import refuse_unequal_data
from cyclegan_dist.training.run_folder import check_run
from tests.conftest import write_images
from tests.ranks import run_ranks
from tests.training.trainings import go, records

MakeRun = Callable[..., Config]


def content(folder: Path) -> dict[str, str]:
    """A hash of each file."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def prepared(folder: Path, size: tuple[int, int] = (24, 24), seed: int = 9) -> str:
    a, b = write_images(folder / "A", 3, seed=seed), write_images(folder / "B", 3, seed=seed + 1)
    Image.new("RGB", size, (200, 90, 30)).save(b / "odd.png")
    prepare(PrepareConfig(a, b, folder / "out", workers=1))
    return str(folder / "out")


@pytest.mark.parametrize("launcher", ["local", "ray"])
@pytest.mark.parametrize("recorded", [True, False])
def test_another_data_set_changes_nothing_of_a_finished_run(
    tiny_run: MakeRun, tmp_path: Path, launcher: str, recorded: bool
) -> None:
    config = tiny_run()
    assert go(config) == "FINISHED"
    if not recorded:  # by an older version
        lines = [{k: v for k, v in r.items() if k not in ("manifest", "crc32")} for r in records(config)]
        (config.run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, path=prepared(tmp_path / "other")))
    before = content(config.run_dir)
    with pytest.raises(UsageError, match=r"^.*/other/out is not the data set that run tiny has been trained on: give"):
        launch(other, launcher)
    assert content(config.run_dir) == before


def test_checking_a_run_writes_nothing_and_another_place_of_the_data_is_accepted(
    tiny_run: MakeRun, tmp_path: Path
) -> None:
    config = tiny_run(stop_after=8)
    go(config)
    moved = Path(config.data.path).rename(tmp_path / "moved")
    before = content(config.run_dir)
    try:
        checked = check_run(dataclasses.replace(config, data=dataclasses.replace(config.data, path=str(moved))))
    finally:
        moved.rename(config.data.path)
    assert checked.data.path == str(moved)
    assert content(config.run_dir) == before


def test_data_may_change_before_the_first_recorded_step(tiny_run: MakeRun, tmp_path: Path) -> None:
    config, other = tiny_run(), prepared(tmp_path / "other")
    go(config)
    for path in (config.run_dir / "checkpoints").iterdir():
        path.rename(tmp_path / path.name)
    with pytest.raises(UsageError, match="is not the data set that run tiny has been trained on"):
        tiny_run(data__path=other)  # its journal would hold losses of both
    journal = config.run_dir / "metrics.jsonl"
    journal.write_text(journal.read_text().splitlines(keepends=True)[0])
    assert tiny_run(data__path=other).data.path == other


def test_a_data_set_that_is_replaced_between_two_attempts_is_refused(tiny_run: MakeRun, tmp_path: Path) -> None:
    config = tiny_run(data__path=prepared(tmp_path / "data"), stop_after=4)
    go(config)
    shutil.rmtree(config.run_dir / "checkpoints")
    shutil.rmtree(tmp_path / "data")
    prepared(tmp_path / "data", seed=20)
    with pytest.raises(UsageError, match="it was replaced; restore it"):
        go(config)  # as ranks that Ray restarts: the launcher made its checks before


def test_ranks_that_read_different_data_sets_are_refused(tmp_path: Path) -> None:
    paths = [prepared(tmp_path / str(rank), seed=rank) for rank in (0, 1)]

    def work(world: World) -> str:
        with pytest.raises(UsageError) as error:
            refuse_unequal_data(open_manifest(paths[world.rank]), world, "")
        return str(error.value)

    for text in run_ranks(work, 2):
        assert "is not the same on all ranks: rank 1 on 127.0.0.1 read another one than rank 0" in text


def test_a_finished_run_that_cannot_be_resumed_has_still_finished(tiny_run: MakeRun) -> None:
    config = tiny_run()
    go(config)
    for path in (config.run_dir / "checkpoints").rglob("shared.pt"):
        path.write_bytes(b"")
    with pytest.raises(UsageError, match="no valid checkpoint"):
        go(tiny_run())
    assert [record["status"] for record in records(config) if record["kind"] == "end"] == ["FINISHED"]


def test_several_ranks_are_refused_by_the_local_launcher(tiny_run: MakeRun) -> None:
    config = tiny_run(world__num_workers=2)
    with pytest.raises(UsageError, match=r"num_workers 2, but --launcher local .* or give --world\.num_workers 0$"):
        launch(config, "local")


@pytest.mark.parametrize(
    ("size", "options", "becomes"),
    [
        ((200, 3), {"data__preprocess": "none"}, "200x3 pixels, is trained on as 200x4"),
        ((3, 200), {"data__preprocess": "none"}, "3x200 pixels, is trained on as 4x200"),
        ((200, 24), {"data__preprocess": "scale_width"}, "200x24 pixels, is trained on as 20x4"),
        ((24, 9), {"data__preprocess": "none", "method__discriminator__n_layers_D": 3}, "sides of 24 at least"),
        ((24, 9), {"data__preprocess": "crop"}, "an image side of 9 pixels is smaller than crop_size 16"),
    ],
)
def test_an_image_that_is_too_small_is_named_at_the_start(
    tiny_run: MakeRun, tmp_path: Path, size: tuple[int, int], options: dict[str, object], becomes: str
) -> None:
    with pytest.raises(UsageError, match=becomes) as error:
        tiny_run(data__path=prepared(tmp_path, size), **options)
    assert "odd.png of domain B" in str(error.value) or options["data__preprocess"] == "crop"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("preprocess", ["none", "scale_width"])
def test_the_smallest_sides_that_are_accepted_train(tiny_run: MakeRun, tmp_path: Path, preprocess: str) -> None:
    size = {"none": (200, 7), "scale_width": (200, 70)}[preprocess]  # 200x8 and 20x8: half way rounds to even
    config = tiny_run(data__path=prepared(tmp_path, size), data__preprocess=preprocess, optim__batch_size=1)
    assert go(dataclasses.replace(config, stop_after=8)) == "FINISHED"
