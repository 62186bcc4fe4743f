"""Archives, Parquet files and several places as the images of a domain."""

import io
import os
import socket
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cyclegan_dist.data import unpacking
from cyclegan_dist.data.domain_files import domain_files
from cyclegan_dist.data.manifest import SCHEMA, open_manifest
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.errors import UsageError
from pipelines import prepare as pipeline
from tests.conftest import Answer, write_images
from tests.data.test_prepare import everything

Cli = Callable[..., Answer]


@pytest.fixture
def cli(command: Callable[..., Answer]) -> Cli:
    return partial(command, pipeline.main)


def names(out: Path, domain: str = "A") -> list[str]:
    return sorted(open_manifest(str(out), SCHEMA.names).domains[domain]["name"].to_pylist())


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **facts: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in facts.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(data))


def packed(folder: Path, archive: Path, top: str = "") -> Path:
    """All files of a folder as an archive of the kind that its name says."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.suffix.lower() == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in files:
                file.write(path, f"{top}{path.relative_to(folder)}")
    else:
        with tarfile.open(archive, "w" if archive.suffix.lower() == ".tar" else "w:gz") as file:
            for path in files:
                file.add(path, f"./{top}{path.relative_to(folder)}")
    return archive


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_an_archive_gives_the_same_bytes_as_the_folder(folders, tmp_path: Path, ending: str) -> None:
    a, b = folders
    write_images(a / "deep" / "er", 2, extension="jpg")
    for name in ("notes.txt", ".hidden.png"):
        (a / name).write_bytes((a / "0000.png").read_bytes())
    (a / "no_ending").write_bytes((a / "0000.png").read_bytes())
    prepare(PrepareConfig(a, b, tmp_path / "folder", workers=1))
    lines: list[str] = []
    whole, part = packed(a, tmp_path / f"a.{ending}"), packed(b, tmp_path / f"B.{ending.upper()}", top="x/trainB/")
    prepare(PrepareConfig(whole, part / "x" / "trainB", tmp_path / "archive", workers=1), lines.append)
    assert everything(tmp_path / "archive") == everything(tmp_path / "folder")
    assert lines == [f"skipped in {whole}, not images by their names: 1 with .txt"]
    assert not list(tmp_path.glob(".*")), "what was unpacked is removed"


def test_members_that_cannot_be_read_are_listed_and_left_out(cli: Cli, folders, tmp_path: Path) -> None:
    archive = packed(folders[0], tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    info = zipfile.ZipFile(archive).getinfo("0003.png")
    content[info.header_offset + 60] ^= 0xFF  # within the compressed data
    archive.write_bytes(content)
    code, out, err = cli(archive, folders[1], tmp_path / "out", "--workers", 1, "--max-bad-fraction", 0.2)
    assert code == 0 and "6 images of A" in out
    assert f"left out {archive}/0003.png: it cannot be unpacked (" in err
    code, _, err = cli(archive, folders[1], tmp_path / "strict", "--workers", 1)
    assert code == 2 and f"1 of 7 images in {archive} cannot be used (it cannot be unpacked" in err


def test_two_that_prepare_one_data_set_do_not_mix_their_images(folders, tmp_path: Path) -> None:
    first, second = (packed(folder, tmp_path / f"{folder.name}.zip") for folder in folders)
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = tmp_path / ".out.unpacked" / f"{socket.gethostname()}-{gone.pid}-0" / "A"
    left.mkdir(parents=True)  # by a process that was killed
    with domain_files(PrepareConfig(first, first, tmp_path / "out"), print) as ours:
        assert not left.parent.exists()
        with domain_files(PrepareConfig(second, second, tmp_path / "out"), print) as theirs:
            for files, folder in ((ours["A"], folders[0]), (theirs["A"], folders[1])):
                assert sorted(os.listdir(files.folder)) == files.names == sorted(os.listdir(folder))
        assert sorted(os.listdir(ours["A"].folder)) == ours["A"].names
    assert not list(tmp_path.glob(".*"))


def test_a_file_of_the_name_of_a_folder_is_left_out(folders, tmp_path: Path) -> None:
    archive, image = packed(folders[0], tmp_path / "a.zip"), (folders[0] / "0000.png").read_bytes()
    with zipfile.ZipFile(archive, "a") as file:
        for name in ("both.png/inside.png", "both.png", "0000.png/inside.png"):
            file.writestr(name, image)
    lines: list[str] = []
    prepare(PrepareConfig(archive, folders[1], tmp_path / "out", workers=1, max_bad_fraction=0.5), lines.append)
    assert names(tmp_path / "out") == sorted([*os.listdir(folders[0]), "both.png/inside.png"])
    assert any("its name is also a folder's" in line for line in lines)


def test_links_in_an_archive_are_not_followed_and_hard_links_are_files(folders, tmp_path: Path) -> None:
    a, archive = folders[0], tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in a.iterdir():
            tar.add(path, f"top/{path.name}")
        add(tar, "top/same.png", type=tarfile.LNKTYPE, linkname="top/0000.png")
        add(tar, "top/link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "top/device.png", type=tarfile.CHRTYPE)
    lines: list[str] = []
    prepare(PrepareConfig(archive / "top", folders[1], tmp_path / "out", workers=1, max_bad_fraction=0.5), lines.append)
    assert names(tmp_path / "out") == sorted([*os.listdir(a), "same.png"])
    first, rest = lines
    assert first in [f"left out {archive}/top/{n}.png: a link or a device, no file" for n in ("link", "device")]
    assert rest.startswith("left out 1 more of")


@pytest.mark.parametrize("name", ["../out/x.png", "/etc/x.png", "a/../../x.png", "..\0/x.png"])
@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_no_name_leads_out_of_an_archive(cli: Cli, folders, tmp_path: Path, name: str, ending: str) -> None:
    image = (folders[0] / "0000.png").read_bytes()
    archive = tmp_path / f"a.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(name, image)
    else:
        with tarfile.open(archive, "w") as file:
            add(file, name, image)
    code, _, err = cli(archive, folders[1], tmp_path / "new" / "out", "--workers", 1)
    if "\0" in name:  # formats end the name there
        name = ".."
    assert code == 2 and err.count("\n") == 1 and f"has a file {name}, whose name leads out of it" in err
    assert not list(tmp_path.rglob("x.png"))


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_an_archive_that_unpacks_to_too_much_is_refused(cli: Cli, folders, tmp_path: Path, ending, monkeypatch) -> None:
    monkeypatch.setattr(unpacking, "UNPACKED", 1 << 20)
    for number in range(4):
        (folders[0] / f"bomb{number}.bmp").write_bytes(bytes(2 << 20))
    archive = packed(folders[0], tmp_path / f"a.{ending}")
    code, _, err = cli(archive, folders[1], tmp_path / "out", "--workers", 1)
    assert code == 2 and err.count("\n") == 1 and "unpacks to more than 100 times its size" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["A", "B", archive.name])


def test_a_member_above_the_size_that_is_read_is_not_unpacked(folders, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(unpacking, "largest_file", lambda max_pixels: 1 << 16)
    (folders[0] / "large.bmp").write_bytes(bytes(1 << 17))
    lines: list[str] = []
    archive = packed(folders[0], tmp_path / "a.zip")
    prepare(PrepareConfig(archive, folders[1], tmp_path / "out", workers=1, max_bad_fraction=0.2), lines.append)
    assert lines == [f"left out {archive}/large.bmp: more than the 65,536 bytes we read: raise --max-megapixels"]


def header_bomb(path: Path) -> None:
    """A tar whose header says that its names need 1 GB."""
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("x.png")
        member.type, member.size = tarfile.XHDTYPE, 1 << 30
        tar.fileobj.write(member.tobuf(tarfile.USTAR_FORMAT))  # pyright: ignore


def damaged_header(path: Path, image: bytes) -> None:
    """The header of the second of three members is no header: tarfile takes it for the end."""
    with tarfile.open(path, "w") as tar:
        for number in range(3):
            add(tar, f"{number}.png", image)
    content = bytearray(path.read_bytes())
    second = 512 + -(-len(image) // 512) * 512
    content[second : second + 512] = b"x" * 512
    path.write_bytes(content)


@pytest.mark.parametrize("case", ["cut.zip", "cut.tar", "cut.tgz", "text.zip", "text.tar", "bomb.tar.gz", "header.tar"])
def test_a_damaged_archive_is_one_line(cli: Cli, folders, tmp_path: Path, case: str) -> None:
    archive = tmp_path / case
    if case.startswith("cut"):
        content = packed(folders[0], archive).read_bytes()
        archive.write_bytes(content[: len(content) // 2])
    elif case.startswith("text"):
        archive.write_text("<html>not found</html>")
    elif case.startswith("bomb"):
        header_bomb(archive)
    else:
        damaged_header(archive, (folders[0] / "0000.png").read_bytes())
    code, _, err = cli(archive, folders[1], tmp_path / "out", "--workers", 1, "--max-bad-fraction", 0.5)
    assert code == 2 and err.count("\n") == 1 and f"{archive} is damaged, or no archive of its ending" in err, err
    assert ("a header of 1,073,741,824 bytes" in err) == (case == "bomb.tar.gz")  # which is not read
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["A", "B", case])


def table(folder: Path, path: Path, column: str = "image", **others: Any) -> Path:
    """The images of a folder as the Hugging Face Hub stores them."""
    rows = [{"bytes": file.read_bytes(), "path": f"some/where/{file.name}"} for file in sorted(folder.iterdir())]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: rows, **others}), path, row_group_size=3)
    return path


def test_parquet_files_give_the_images_of_the_folder(folders, tmp_path: Path) -> None:
    a, b = folders
    single = table(a, tmp_path / "a.parquet", label=list(range(7)))
    for number in range(2):
        table(b, tmp_path / "many" / f"train-{number}.parquet")
    (tmp_path / "many" / "README.md").touch()
    prepare(PrepareConfig(single, tmp_path / "many", tmp_path / "out", workers=1))
    prepare(PrepareConfig(a, b, tmp_path / "folder", workers=1))
    assert everything(tmp_path / "out" / "A") == everything(tmp_path / "folder" / "A")
    assert names(tmp_path / "out") == names(tmp_path / "folder")
    assert names(tmp_path / "out", "B") == [f"train-{n}/{file}" for n in range(2) for file in sorted(os.listdir(b))]


def test_rows_of_two_columns_are_pairs(cli: Cli, folders, tmp_path: Path) -> None:
    rows = sorted(folders[0].iterdir())
    plain: list[bytes | None] = [path.read_bytes() for path in rows]
    both = table(folders[0], tmp_path / "both.parquet", "before", after=plain)
    code, _, err = cli(both, both, tmp_path / "out", "--workers", 1)
    assert code == 2 and "both domains are" in err and "--column-a and --column-b" in err
    code, _, err = cli(both, folders[1], tmp_path / "out", "--workers", 1)
    assert code == 2 and "several columns of images: choose one with --column" in err and "before, after" in err
    code, _, err = cli(both, folders[1], tmp_path / "out", "--workers", 1, "--column", "later")
    assert code == 2 and "has no column of images later" in err
    columns = ["--column-a", "before", "--column-b", "after", "--workers", 1]
    code, out, err = cli(both, both, tmp_path / "out", *columns, "--pairs", "names")
    assert code == 0 and "7 images of A, 7 images of B" in out, err
    manifest = open_manifest(str(tmp_path / "out"), SCHEMA.names)
    reader = {domain: ShardReader(manifest, domain) for domain in "AB"}
    assert [reader["A"].read(i) for i in range(7)] == [
        reader["B"].read(int(j)) for i, j in enumerate(manifest.partners())
    ]
    plain[2] = None
    both = table(folders[0], tmp_path / "both.parquet", "before", after=plain)
    code, out, err = cli(both, both, tmp_path / "holes", *columns)
    assert code == 0 and "7 images of A, 6 images of B" in out, err


@pytest.mark.parametrize("case", ["text", "numbers"])
def test_a_parquet_file_without_images_is_one_line(cli: Cli, folders, tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.parquet"
    if case == "text":
        path.write_text("<html>" * 10)
    else:
        pq.write_table(pa.table({"label": [1, 2]}), path)
    code, _, err = cli(path, folders[1], tmp_path / "out", "--workers", 1)
    assert code == 2 and err.count("\n") == 1 and str(path) in err
    assert ("no column of images" if case == "numbers" else "no Parquet file") in err


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(cli: Cli, folders, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(unpacking, "UNPACKED", 1 << 20)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [bytes(1 << 16)] * 400}), path)  # which stores the value once
    code, _, err = cli(path, folders[1], tmp_path / "out", "--workers", 1)
    assert code == 2 and err.count("\n") == 1 and f"{path} unpacks to more than 100 times its size" in err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["A", "B", "a.parquet"]


def test_several_places_are_one_domain(cli: Cli, folders, tmp_path: Path) -> None:
    a, b = folders
    write_images(tmp_path / "more" / "A", 3)
    (tmp_path / "more" / "A" / "broken.png").write_text("no image")
    given = f"{a},{tmp_path}/more/A,{packed(a, tmp_path / 'a.zip')}"
    code, out, err = cli(given, b, tmp_path / "out", "--workers", 1, "--max-bad-fraction", 0.1)
    assert code == 0 and "17 images of A" in out, err
    assert f"left out {tmp_path}/more/A/broken.png: " in err
    assert {name.partition("/")[0] for name in names(tmp_path / "out")} == {"A", "A-2", "a.zip"}
    code, _, err = cli(f"{a},{tmp_path}/none", b, tmp_path / "bad", "--workers", 1)
    assert code == 2 and f"{tmp_path}/none is not a folder" in err and err.count("\n") == 1


def test_several_places_may_be_longer_together_than_a_file_name(folders, tmp_path: Path) -> None:
    os.rename(folders[0], tmp_path / ("a" * 120))
    given = Path(",".join(["a" * 120] * 3))  # relative: one component of a path
    prepare(PrepareConfig(given, folders[1], tmp_path / "out", workers=1))
    assert len(names(tmp_path / "out")) == 21


def test_a_folder_with_a_comma_in_its_name_is_itself(folders, tmp_path: Path) -> None:
    os.rename(folders[0], tmp_path / "A,B")
    prepare(PrepareConfig(tmp_path / "A,B", folders[1], tmp_path / "out", workers=1))
    assert names(tmp_path / "out") == sorted(os.listdir(tmp_path / "A,B"))


def test_places_of_both_domains_are_pairs_by_their_number(folders, tmp_path: Path) -> None:
    for name in ("a1", "a2", "b1", "b2"):
        write_images(tmp_path / name, 2 + int(name[1]))
    given_a, given_b = (Path(f"{tmp_path}/{domain}1,{tmp_path}/{domain}2") for domain in "ab")
    prepare(PrepareConfig(given_a, given_b, tmp_path / "out", pairs="names", workers=1))
    assert names(tmp_path / "out") == names(tmp_path / "out", "B")
    assert open_manifest(str(tmp_path / "out")).samples == {"A": 7, "B": 7}


def test_a_file_of_another_kind_and_a_folder_that_is_not_in_the_archive_are_refused(folders, tmp_path: Path) -> None:
    (tmp_path / "a.rar").touch()
    archive = packed(folders[0], tmp_path / "a.zip")
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    for place, reason in (
        (tmp_path / "a.rar", "nor a file that holds images: give .zip"),
        (tmp_path / "x.png", "nor a file that holds images: give .zip"),
        (archive / "sub", "has no folder sub"),
        (tmp_path / "a", "is not a folder: give a folder of images, a .zip"),
        (Path(f"{folders[0]},,nowhere"), "^nowhere is not a folder"),
        (Path(","), "^, is not a folder"),
    ):
        with pytest.raises(UsageError, match=reason):
            prepare(PrepareConfig(place, folders[1], tmp_path / "out", workers=1))
