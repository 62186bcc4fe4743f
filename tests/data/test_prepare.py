import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
from PIL import Image

from cyclegan_dist.data.images import decode
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.errors import UsageError
from tests.conftest import write_images


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_twice_gives_the_same_bytes(folders, tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        prepare(PrepareConfig(*folders, tmp_path / name, load_size=16, samples_per_shard=3, workers=workers))
    assert everything(tmp_path / "one") == everything(tmp_path / "two")
    prepare(
        PrepareConfig(*folders, tmp_path / "one", load_size=16, samples_per_shard=3, workers=1)
    )  # and once more in place
    assert everything(tmp_path / "one") == everything(tmp_path / "two")


def test_every_image_is_stored_once_with_its_name_and_bytes(folders, tmp_path: Path) -> None:
    write_images(folders[0] / "deep" / "er", 2, extension="jpg")
    prepare(PrepareConfig(*folders, tmp_path / "out", samples_per_shard=4, workers=1))
    manifest = open_manifest(str(tmp_path / "out"), SCHEMA.names)
    names = manifest.domains["A"]["name"].to_pylist()
    assert sorted(names) == sorted(path.relative_to(folders[0]).as_posix() for path in folders[0].rglob("*.*g"))
    assert names != sorted(names)  # neighbours in a shard are not neighbours in the folder
    reader = ShardReader(manifest, "A")
    assert [reader.read(i) for i in range(len(names))] == [(folders[0] / name).read_bytes() for name in names]


def test_unreadable_images_are_named_and_left_out_up_to_a_share(folders, tmp_path: Path, capsys) -> None:
    (folders[1] / "bad one.jpg").write_text("<html>")
    with pytest.raises(UsageError, match=r"1 of 11 images in .*B cannot be used .*--max-bad-fraction"):
        prepare(PrepareConfig(*folders, tmp_path / "out", workers=1))
    assert not (tmp_path / "out").exists()
    prepare(PrepareConfig(*folders, tmp_path / "out", workers=1, max_bad_fraction=0.1))
    assert "left out" in capsys.readouterr().err
    assert open_manifest(str(tmp_path / "out")).samples == {"A": 7, "B": 10}


def test_the_load_size_makes_files_smaller(folders, tmp_path: Path) -> None:
    prepare(PrepareConfig(*folders, tmp_path / "out", load_size=12, workers=1))
    rows = open_manifest(str(tmp_path / "out"), SCHEMA.names).table.to_pylist()
    assert {(row["width"], row["height"]) for row in rows} == {(12, 12)}


def test_sixteen_bit_and_transparent_images_become_png(tmp_path: Path) -> None:
    for domain in "AB":
        (tmp_path / domain).mkdir()
        Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(tmp_path / domain / "deep.png")
        Image.new("RGBA", (8, 8), (10, 20, 30, 255)).save(tmp_path / domain / "clear.tiff")
    prepare(PrepareConfig(tmp_path / "A", tmp_path / "B", tmp_path / "out", workers=1))
    manifest = open_manifest(str(tmp_path / "out"), SCHEMA.names)
    assert dict(
        zip(manifest.domains["A"]["name"].to_pylist(), manifest.domains["A"]["mode"].to_pylist(), strict=True)
    ) == {
        "deep.png": "L",
        "clear.tiff": "RGB",
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_arrays_keep_their_channels(tmp_path: Path) -> None:
    for domain, channels in (("A", 5), ("B", 1)):
        (tmp_path / domain).mkdir()
        np.save(tmp_path / domain / "x.npy", np.full((8, 6, channels), 7, np.uint8))
    prepare(PrepareConfig(tmp_path / "A", tmp_path / "B", tmp_path / "out", workers=1))
    rows = open_manifest(str(tmp_path / "out"), SCHEMA.names).table.to_pylist()
    assert [(row["mode"], row["width"], row["height"]) for row in rows] == [("C5", 6, 8), ("L", 6, 8)]
    (sample,) = wds.WebDataset(str(tmp_path / "out" / "A" / "A-000000.tar"), shardshuffle=False).decode()
    assert sample["npy"].shape == (8, 6, 5) and (sample["npy"] == 7).all()


def test_a_path_is_never_a_url(folders, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GOPEN_REWRITE", f"{tmp_path}=pipe:touch {tmp_path}/hacked #")
    for out in (tmp_path / "out", Path("pipe:touch hacked;") / "out"):
        path = prepare(PrepareConfig(*folders, out, workers=1))
        assert open_manifest(str(path.parent.absolute())).samples == {"A": 7, "B": 10}
    assert not (tmp_path / "hacked").exists()


def test_double_images_become_pairs(tmp_path: Path) -> None:
    """The left half is A's, the right one B's, also of an odd width."""
    (tmp_path / "double").mkdir()
    for name, width in (("one", 20), ("two", 21)):
        pixels = np.zeros((8, width, 3), np.uint8)
        pixels[:, width // 2 + width % 2 :] = 200
        Image.fromarray(pixels).save(tmp_path / "double" / f"{name}.png")
    prepare(PrepareConfig(tmp_path / "double", tmp_path / "double", tmp_path / "out", pairs="halves", workers=1))
    manifest = open_manifest(str(tmp_path / "out"), SCHEMA.names)
    assert manifest.paired
    for domain, level in (("A", 0), ("B", 200)):
        reader = ShardReader(manifest, domain)
        for index in range(2):
            pixels = decode(reader.read(index), 3)
            assert pixels.shape == (3, 8, 10) and bool((pixels == level).all())


def test_a_data_set_is_not_paired_by_default(dataset: Path) -> None:
    assert not open_manifest(str(dataset)).paired


@pytest.mark.parametrize("name", ["50% a::b", "x" * 255, "ä" * 127])
def test_data_sets_with_names_of_all_kinds_can_be_written_and_read(
    folders: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    prepare(PrepareConfig(*folders, tmp_path / name, workers=1))
    manifest = open_manifest(str(tmp_path / name))
    assert len(ShardReader(manifest, "A").read(0)) > 0


def test_files_left_out_for_one_reason_are_two_lines_and_the_reason_ends_the_message(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    lines: list[str] = []
    with pytest.raises(UsageError, match=r"7 of 7 images in .*A cannot be used \(--bands: it has 3 bands, not 5\)"):
        prepare(PrepareConfig(*folders, tmp_path / "out", workers=1, bands_a="1,5"), lines.append)
    reason = "--bands: it has 3 bands, not 5"
    first, rest = lines
    assert first.startswith(f"left out {folders[0]}/000") and first.endswith(f".png: {reason}")
    assert rest == f"left out 6 more of {folders[0]}: {reason}"


@pytest.mark.parametrize(
    ("options", "named"), [({"white_b": "4095"}, ["--white-b 4095"]), ({"black": "p1"}, ["--black p1"])]
)
def test_a_white_that_does_not_count_is_a_line(
    options: dict[str, str], named: list[str], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    lines: list[str] = []
    prepare(PrepareConfig(*folders, tmp_path / "out", workers=1, **options), lines.append)
    assert lines == [f"{name} does not count: no readable image there has more than 8 bits" for name in named]


def test_ctrl_c_is_one_line(folders: tuple[Path, Path], tmp_path: Path) -> None:
    body = f"""
import os, signal, time
from pathlib import Path
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.errors import run_command

def interrupted(results, folder, total):
    for result in results:
        time.sleep(0.5)  # the processes have nothing left to do and wait
        os.killpg(0, signal.SIGINT)
        yield result

config = PrepareConfig(Path({str(folders[0])!r}), Path({str(folders[1])!r}), Path({str(tmp_path / "out")!r}), workers=2)
run_command(lambda: prepare(config, progress=interrupted))
"""
    done = subprocess.run(
        [sys.executable, "-c", body], start_new_session=True, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    assert not (tmp_path / "out").exists()
