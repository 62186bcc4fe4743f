"""Versions of a data set that grows: new images in new shards, the shards before as they are."""

import errno
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from cyclegan_dist.data.manifest import REFERRING_VERSION, SCHEMA, open_manifest
from cyclegan_dist.data.palette import Palette
from cyclegan_dist.data.prepare import prepare, prepare_at
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.reader import ShardReader
from cyclegan_dist.data.verify import check_shards
from cyclegan_dist.data.versions import earlier_versions
from cyclegan_dist.errors import UsageError
from pipelines import verify
from tests.conftest import Answer, write_images


@pytest.fixture
def new(tmp_path: Path) -> tuple[Path, Path]:
    return write_images(tmp_path / "newA", 5, seed=3), write_images(tmp_path / "newB", 6, seed=4)


@pytest.fixture
def first(folders: tuple[Path, Path], tmp_path: Path) -> Path:
    """The first version: 7 images of A and 10 of B in shards of four."""
    return prepare(PrepareConfig(*folders, tmp_path / "v1", samples_per_shard=4, workers=1)).parent


def appended(new: tuple[Path, Path], out: str | Path, to: str | Path, **options: object) -> list[str]:
    lines: list[str] = []
    config = PrepareConfig(*new, out, samples_per_shard=4, workers=1, append=str(to), **options)  # pyright: ignore
    prepare_at(config, lines.append)
    return lines


def images(root: str | Path, domain: str) -> list[bytes]:
    manifest = open_manifest(str(root))
    reader = ShardReader(manifest, domain)
    return [reader.read(index) for index in range(len(reader))]


def test_a_version_has_the_shards_before_and_new_ones(
    first: Path, new: tuple[Path, Path], tmp_path: Path, command: Callable[..., Answer]
) -> None:
    appended(new, tmp_path / "v2", first)
    appended((Path("none"), new[0]), tmp_path / "v3", tmp_path / "v2")
    one, two, three = (open_manifest(str(tmp_path / name), SCHEMA.names) for name in ("v1", "v2", "v3"))
    assert (two.samples, three.samples) == ({"A": 12, "B": 16}, {"A": 12, "B": 21})
    assert one.parent is None
    assert two.parent == {"at": "../v1", "digest": one.digest} and three.parent == {"at": "../v2", "digest": two.digest}
    for domain, folder in (("A", new[0]), ("B", new[1])):
        before = images(first, domain)
        assert images(two.root, domain)[: len(before)] == before
        added = {path.read_bytes() for path in folder.iterdir()}
        assert set(images(two.root, domain)[len(before) :]) == added
        keys = three.domains[domain]["key"].to_pylist()
        assert keys == sorted(set(keys))
    assert os.path.samefile(first / "A" / "A-000001.tar", tmp_path / "v3" / "A" / "A-000001.tar")
    shutil.rmtree(tmp_path / "v1" / "A")  # links keep what is removed
    assert not [line for lines in check_shards(three) for line in lines]
    check = partial(command, verify.main)
    code, out, _ = check(three.root)
    lines = out.splitlines()
    assert code == 0 and f"version before: {two.root}, manifest {two.digest[:12]}: 12 images of A sha256 " in lines[-3]
    assert lines[-2].startswith(f"version before: {one.root}, manifest {one.digest[:12]}: 7 images of A ")
    shutil.move(tmp_path / "v1", tmp_path / "moved")
    code, out, _ = check(three.root)
    assert code == 1 and f"version before: {one.root} is gone" in out
    shutil.copytree(two.root, one.root)
    code, out, _ = check(three.root)
    assert (
        code == 1
        and f"{one.root} is another data set: has the manifest {two.digest[:12]}, and {one.digest[:12]} is" in out
    )


def test_the_same_appended_again_gives_the_same_bytes_and_an_interrupted_one_goes_on(
    first: Path, new: tuple[Path, Path], tmp_path: Path
) -> None:
    appended(new, tmp_path / "v2", first)
    before = {path: path.read_bytes() for path in (tmp_path / "v2").rglob("*") if path.is_file()}
    shutil.rmtree(tmp_path / "v2")
    config = PrepareConfig(*new, tmp_path / "v2", samples_per_shard=4, workers=1, append=str(first))

    def stops(results, what, total):
        for number, result in enumerate(results):
            if what == str(new[1]) and number == 5:
                raise RuntimeError
            yield result

    with pytest.raises(RuntimeError):
        prepare(config, lambda line: None, stops)
    lines = appended(new, tmp_path / "v2", first)
    assert "going on after 3 shards" in lines[0]
    assert {path: path.read_bytes() for path in (tmp_path / "v2").rglob("*") if path.is_file()} == before


def test_where_nothing_can_be_linked_the_shards_are_read_where_they_are(
    first: Path, new: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    appended(new, tmp_path / "v2", first)
    appended(new, tmp_path / "v2", first)
    assert (first / ".referred").read_text() == f"{tmp_path}/v2\n"
    manifest = open_manifest(str(tmp_path / "v2"))
    assert manifest.place("A/A-000000.tar") == str(first / "A" / "A-000000.tar")
    assert sorted(path.name for path in (tmp_path / "v2" / "A").iterdir()) == ["A-000002.tar", "A-000003.tar"]
    assert images(manifest.root, "A")[:7] == images(first, "A")
    assert not [line for lines in check_shards(manifest) for line in lines]
    facts = open_manifest(str(first))
    assert b'"version": %d' % REFERRING_VERSION in (tmp_path / "v2" / "manifest.parquet").read_bytes()
    (first / "A" / "A-000000.tar").unlink()
    assert next(line for lines in check_shards(manifest) for line in lines).startswith(f"{facts.root}/A/A-000000.tar")
    with pytest.raises(UsageError, match="is gone or has another size: restore it"):
        appended(new, tmp_path / "v3", first)


def test_versions_at_urls_refer_to_those_before_and_a_folder_is_uploaded(
    first: Path, new: tuple[Path, Path], tmp_path: Path
) -> None:
    root = f"memory://{tmp_path.name}"
    appended(new, f"{root}/v2", first)
    appended((new[1], new[0]), f"{root}/v3", f"{root}/v2")
    files = fsspec.filesystem("memory")
    assert len(files.find(f"/{tmp_path.name}/v2/A")) == 4 and len(files.find(f"/{tmp_path.name}/v3/A")) == 2
    manifest = open_manifest(f"{root}/v3")
    assert images(f"{root}/v3", "B")[:10] == images(first, "B") and manifest.samples == {"A": 18, "B": 21}
    assert [(link.place, link.problem) for link in earlier_versions(manifest)] == [(f"{root}/v2", ""), (str(first), "")]


def test_images_held_out_stay_held_out_and_new_ones_are_added(
    folders: tuple[Path, Path], new: tuple[Path, Path], tmp_path: Path
) -> None:
    write_images(folders[0], 12, seed=5), write_images(folders[1], 12, seed=6)
    prepare(PrepareConfig(*folders, tmp_path / "v1", validation=4, workers=1))
    appended(new, tmp_path / "v2", tmp_path / "v1")
    appended((folders[0], folders[1]), tmp_path / "v3", tmp_path / "v2", validation=5)
    held = [open_manifest(str(tmp_path / name / "val")) for name in ("v1", "v2", "v3")]
    assert [manifest.samples["A"] for manifest in held] == [4, 4, 9]
    assert images(held[1].root, "B") == images(held[0].root, "B")
    assert held[2].parent == {"at": "../../v2/val", "digest": held[1].digest}


def test_a_forgotten_load_size_is_said(
    folders: tuple[Path, Path], new: tuple[Path, Path], tmp_path: Path, first: Path
) -> None:
    reduced = tmp_path / "v1_of_16"
    prepare(PrepareConfig(*folders, reduced, load_size=16, workers=1))
    assert not appended(new, tmp_path / "v2", reduced, load_size=16)
    line = (
        "A: 5 images larger than those of the version before, whose shorter sides have at most 16 pixels: "
        "if it had --load-size 16, give it again, with --overwrite"
    )
    assert line in appended(new, tmp_path / "v3", reduced)
    assert not appended(new, tmp_path / "v4", first)  # neither is reduced


def test_with_dedup_images_of_the_version_before_are_dropped(
    first: Path, folders: tuple[Path, Path], new: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copy(folders[0] / "0001.png", new[0] / "again.png")
    with Image.open(folders[1] / "0002.png") as image:
        image.save(new[1] / "copy.bmp")
    lines = appended(new, tmp_path / "v2", first, dedup=True)
    assert f"dropped {new[0]}/again.png: the same pixels as {first} A/0001.png" in lines
    assert f"dropped {new[1]}/copy.bmp: the same pixels as {first} B/0002.png" in lines
    assert open_manifest(str(tmp_path / "v2")).samples == {"A": 12, "B": 16}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ("sun", "moon")}, "--names sun moon: .* has none: leave the option out"),
        ({"bands": "1"}, "--bands of domain A: .* has all"),
        ({"pairs": "some"}, "has no pairs: give no --pairs"),
        ({"out": "v1"}, "a version stays as it is: give another OUT"),
        ({"out": "./v1/", "overwrite": True}, "a version stays as it is: give another OUT"),
        ({"out": "v1/val", "overwrite": True}, "a version stays as it is: give another OUT"),
        ({"append": "nowhere"}, "no data set at nowhere"),
        ({"a_dir": Path("none"), "b_dir": Path("none")}, "no new images are given for either domain"),
        ({"a_dir": Path("none"), "validation": 4}, "--validation holds out new images of both domains"),
        ({"append": "s3://me:secret@bucket/v1"}, "--append: a URL with a password"),
    ],
)
def test_what_does_not_fit_is_refused(
    first: Path, new: tuple[Path, Path], tmp_path: Path, options: dict[str, object], message: str
) -> None:
    fields = {"a_dir": new[0], "b_dir": new[1], "out": "out", "append": "v1", "workers": 1, **options}
    with pytest.raises(UsageError, match=message):
        prepare_at(PrepareConfig(**fields))  # pyright: ignore[reportArgumentType]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A", "B", "newA", "newB", "v1"]


def test_label_maps_of_another_palette_are_refused(tmp_path: Path, new: tuple[Path, Path]) -> None:
    maps, two = tmp_path / "maps", Palette(domain="A", classes={"wall": (255, 0, 0), "door": (0, 255, 0)})
    maps.mkdir()
    colours = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
    Image.fromarray(colours[np.arange(64).reshape(8, 8) % 2]).save(maps / "0.png")

    def make(name: str, palette: Palette | None, append: str = "", images: Path = maps) -> None:
        given = "streets" if palette else ""
        config = PrepareConfig(images, new[1], tmp_path / name, workers=1, palette=given, append=append)
        prepare(config, lambda line: None, palette=palette)

    make("v1", two)
    v1 = str(tmp_path / "v1")
    make("v2", two, v1)
    other = Palette(domain="A", classes={**two.classes, "sky": (0, 0, 255)})
    for palette in (None, other):
        with pytest.raises(UsageError, match=r"of domain A of .* with a palette of 2 classes: give the same --palette"):
            make("v3", palette, str(tmp_path / "v2"))
    make("plain", None, images=new[0])
    with pytest.raises(UsageError, match="plain was prepared without it: leave it out"):
        make("v4", two, str(tmp_path / "plain"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps", "newA", "newB", "plain", "v1", "v2"]


def test_values_keep_the_range_and_other_types_are_refused(tmp_path: Path, new: tuple[Path, Path]) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    for number in range(2):
        Image.fromarray(np.full((8, 8), 4000 + number, np.uint16)).save(deep / f"{number}.png")
    prepare(PrepareConfig(deep, new[1], tmp_path / "v1", white_a="5000", workers=1), lambda line: None)
    appended((deep, Path("none")), tmp_path / "v2", tmp_path / "v1")
    one, two = (open_manifest(str(tmp_path / name)) for name in ("v1", "v2"))
    assert two.values == one.values and two.values["A"] is not None and two.values["A"].white == 5000
    with pytest.raises(UsageError, match=r"--white: .* has black 0 and white 5000: leave it out"):
        appended((deep, Path("none")), tmp_path / "v3", tmp_path / "v2", white_a="6000")
    with pytest.raises(UsageError, match=r"domain B of .* has values of 8 bits, and \d\.png of uint16"):
        appended((Path("none"), deep), tmp_path / "v3", tmp_path / "v2")


def test_new_pairs_must_have_new_names(tmp_path: Path, new: tuple[Path, Path]) -> None:
    pairs = write_images(tmp_path / "pA", 3, seed=7), write_images(tmp_path / "pB", 3, seed=8)
    prepare(PrepareConfig(*pairs, tmp_path / "v1", pairs="names", workers=1))
    with pytest.raises(UsageError, match=r"0000\.png of domain A is also a name in .*v1 \(3 such names\)"):
        appended(pairs, tmp_path / "v2", tmp_path / "v1", pairs="names")
    for folder in pairs:
        for path in list(folder.iterdir()):
            path.rename(folder / f"new{path.name}")
    appended(pairs, tmp_path / "v2", tmp_path / "v1", pairs="names")
    assert len(open_manifest(str(tmp_path / "v2"), SCHEMA.names).partners()) == 6


@pytest.mark.parametrize("at", ["pipe:echo", "relative", "s3://me:secret@bucket/x", "filecache::s3://bucket/x", 7])
def test_a_place_of_an_earlier_version_that_is_none_is_refused(first: Path, at: object) -> None:
    from cyclegan_dist.data.shards import write_manifest

    manifest = open_manifest(str(first), SCHEMA.names)
    manifest.shards["A/A-000000.tar"]["at"] = at
    write_manifest(str(first / "manifest.parquet"), manifest.table.to_pylist(), manifest.shards)
    with pytest.raises(UsageError, match=r"not a manifest .*ValueError: at"):
        open_manifest(str(first))


def test_a_manifest_at_a_url_does_not_refer_to_files_of_this_machine(first: Path, tmp_path: Path) -> None:
    from cyclegan_dist.data.shards import write_manifest

    manifest = open_manifest(str(first), SCHEMA.names)
    manifest.shards["A/A-000000.tar"]["at"] = str(first)
    write_manifest(str(first / "manifest.parquet"), manifest.table.to_pylist(), manifest.shards)
    assert open_manifest(str(first)).place("A/A-000000.tar") == f"{first}/A/A-000000.tar"
    fsspec.filesystem("memory").put(str(first), f"/{tmp_path.name}/copy", recursive=True)
    with pytest.raises(UsageError, match=r"not a manifest .*ValueError: at"):
        open_manifest(f"memory://{tmp_path.name}/copy")
