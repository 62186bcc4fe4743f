import json
import os
import time
from pathlib import Path

import pytest

from cyclegan_dist.translation import work
from cyclegan_dist.translation.resume import MARK
from tests.conftest import write_images
from tests.translation.conftest import contents, make_snapshot


@pytest.fixture
def interrupted(
    cli,
    snapshot: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A translation of five images that was interrupted in the third one, over an older one of another model."""
    images, out = write_images(tmp_path / "in", 5), tmp_path / "out"
    other = make_snapshot(tmp_path / "other")
    assert cli(other, images, out)[0] == 0
    saved, save = [], work.save_image

    def interrupt(image, path: Path, values) -> None:
        saved.append(path)
        if len(saved) == 3:
            path.with_name(f".{path.name}").write_bytes(b"half")
            raise KeyboardInterrupt
        save(image, path, values)

    with monkeypatch.context() as patch:
        patch.setattr(work, "save_image", interrupt)
        assert cli(snapshot, images, out)[0] == 130
    return out


def test_finished_work_is_not_repeated(
    cli,
    interrupted: Path,
    snapshot: Path,
    tmp_path: Path,
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in interrupted.glob("*.png")}
    code, out, _ = cli(snapshot, tmp_path / "in", interrupted)
    assert code == 0 and "3 images translated" in out and "2 images done before" in out
    after = {path.name: path.stat().st_mtime_ns for path in interrupted.glob("*.png")}
    assert [name for name in sorted(after) if after[name] == before[name]] == ["0000.png", "0001.png"]
    assert cli(snapshot, tmp_path / "in", tmp_path / "whole")[0] == 0
    assert contents(interrupted) == contents(tmp_path / "whole")
    assert "5 images translated" in cli(snapshot, tmp_path / "in", interrupted)[1]  # finished: all of it anew


@pytest.mark.parametrize("other", ["model", "direction", "images"])
def test_another_translation_does_not_resume_it(
    cli,
    interrupted: Path,
    snapshot: Path,
    tmp_path: Path,
    other: str,
) -> None:
    before = contents(interrupted)
    model = tmp_path / "other" if other == "model" else snapshot
    images = write_images(tmp_path / "in2", 5, seed=9) if other == "images" else tmp_path / "in"
    code, _, err = cli(model, images, interrupted, "--direction", "BA" if other == "direction" else "AB")
    assert code == 2 and "choose another OUTPUT" in err and err.count("\n") == 1
    assert contents(interrupted) == before


def test_files_that_were_there_before_are_not_done_whatever_their_time(
    cli, interrupted: Path, snapshot: Path, tmp_path: Path
) -> None:
    """The clock was hours ahead when an older translation wrote them."""
    out, images = tmp_path / "ahead", tmp_path / "in"
    assert cli(make_snapshot(tmp_path / "third"), images, out)[0] == 0
    for path in out.glob("*.png"):
        os.utime(path, (time.time() + 9000,) * 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "save_image", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert cli(snapshot, images, out)[0] == 130
    assert "5 images translated" in cli(snapshot, images, out)[1]


def test_what_a_version_without_videos_began_is_resumed(cli, interrupted: Path, snapshot: Path, tmp_path: Path) -> None:
    mark = interrupted / MARK
    facts = json.loads(mark.read_text())
    mark.write_text(json.dumps({key: value for key, value in facts.items() if key not in ("codec", "crf")}))
    code, out, err = cli(snapshot, tmp_path / "in", interrupted)
    assert code == 0 and "2 images done before" in out, err
