import os

import pytest

from cyclegan_dist.data.files import list_files, list_images, printable
from cyclegan_dist.errors import UsageError
from tests.conftest import write_images


def test_listing_is_recursive_sorted_and_skips_hidden_and_other_files(tmp_path) -> None:
    for name in ("b.JPG", "a.v2.png", "sub dir/ü.webp", "x.npy", ".hidden.png", ".git/x.png", "notes.txt", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path) == ["a.v2.png", "b.JPG", "sub dir/ü.webp", "x.npy"]
    others = {path.as_posix() for path in list_files(tmp_path)} - set(list_images(tmp_path))
    assert others == {"notes.txt", "README"}


def test_a_file_without_an_extension_is_recognised_by_its_content(tmp_path) -> None:
    write_images(tmp_path, 1)
    (tmp_path / "0000.png").rename(tmp_path / "photo")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("text")
    (tmp_path / "folder.png").mkdir()
    assert list_images(tmp_path) == ["photo"]


@pytest.mark.timeout(20)
def test_links_to_folders_are_named_and_not_followed(tmp_path) -> None:
    folder = write_images(tmp_path / "A", 1)
    (folder / "up").symlink_to(tmp_path)
    (folder / "root.d").symlink_to("/")
    (folder / "loop").symlink_to("loop")
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "other.png").symlink_to(write_images(tmp_path / "B", 1) / "0000.png")
    assert list_images(folder) == ["0000.png", "gone.png", "other.png", "root.d", "up"]
    (tmp_path / "link to A").symlink_to(folder)
    assert list_images(tmp_path / "link to A") == list_images(folder)  # the folder that was given may be one


def test_a_folder_that_cannot_be_searched_is_an_error(tmp_path, monkeypatch) -> None:
    write_images(tmp_path / "locked", 1)
    walk = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return walk(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match=r"locked cannot be searched \(Permission denied\): fix"):
        list_images(tmp_path)


def test_names_for_one_line_of_text() -> None:
    assert printable("a b/ü🦓.png") == "a b/ü🦓.png"
    assert printable("a\nb\x1b[2J\udcff.png") == r"'a\nb\x1b[2J\udcff.png'"
