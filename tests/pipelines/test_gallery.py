from pathlib import Path

import pytest

from cyclegan_dist.errors import UsageError
from pipelines.gallery import Gallery, gallery
from tests.pipelines.test_translate import run_dir as run_dir  # the fixture


def test_a_page_for_ones_own_images(run_dir: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    page = gallery(Gallery(run_dir, *folders, tmp_path / "page", count=5))
    text = page.read_text()
    assert text.count("<figure>") == 10
    assert "0000.png" in text and "nimg-000000008" in text


def test_a_folder_without_images_is_named(run_dir: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere"):
        gallery(Gallery(run_dir, folders[0], tmp_path / "nowhere", tmp_path / "page"))
