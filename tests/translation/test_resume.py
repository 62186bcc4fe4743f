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
        assert cli(snapshot, images, out, "--overwrite")[0] == 130
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
    finished = cli(snapshot, tmp_path / "in", interrupted, "--overwrite")[1]
    assert "5 images translated" in finished and "done before" not in finished  # all of it anew


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
    assert code == 2 and "choose another OUTPUT, or pass --overwrite" in err and err.count("\n") == 1
    assert contents(interrupted) == before
    code, out, err = cli(
        model, images, interrupted, "--direction", "BA" if other == "direction" else "AB", "--overwrite"
    )
    assert code == 0 and "5 images translated" in out and "done before" not in out, err


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
        assert cli(snapshot, images, out, "--overwrite")[0] == 130
    assert "5 images translated" in cli(snapshot, images, out)[1]


def test_what_a_version_without_videos_began_is_resumed(cli, interrupted: Path, snapshot: Path, tmp_path: Path) -> None:
    mark = interrupted / MARK
    facts = json.loads(mark.read_text())
    mark.write_text(json.dumps({key: value for key, value in facts.items() if key not in ("codec", "crf")}))
    code, out, err = cli(snapshot, tmp_path / "in", interrupted)
    assert code == 0 and "2 images done before" in out, err


@pytest.mark.parametrize("kind", ["images", "frames", "image", "shards"])
def test_results_that_are_there_are_replaced_on_demand_only(
    cli, snapshot: Path, dataset: Path, tmp_path: Path, kind: str
) -> None:
    """Whoever wrote them: the same model in another direction, another model, or another program."""
    folder = write_images(tmp_path / "in", 2)
    if kind == "frames":
        for path in folder.iterdir():
            path.rename(path.with_stem(f"frame_{path.stem}"))
    source = {"image": folder / "0000.png", "shards": dataset}.get(kind, folder)
    out = tmp_path / ("out.png" if kind == "image" else "out")
    assert cli(snapshot, source, out)[0] == 0
    place = out.parent if kind == "image" else out
    before = contents(place)
    for model, way in ((snapshot, "BA"), (make_snapshot(tmp_path / "other"), "AB")):
        if kind == "shards" and way == "BA":
            continue  # whose shards have other names
        code, said, err = cli(model, source, out, "--direction", way)
        assert (code, said) == (2, "") and err.count("\n") == 1
        assert "there already: choose another OUTPUT, or pass --overwrite" in err and str(place) in err
        now = contents(place)
        assert all(now[name] == content for name, content in before.items()) and not (out / MARK).exists()
    code, _, err = cli(tmp_path / "other", source, out, "--overwrite")
    assert code == 0 and any(contents(place)[name] != content for name, content in before.items()), err


def test_results_that_are_not_there_are_added(cli, snapshot: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli(snapshot, write_images(tmp_path / "in", 2), out)[0] == 0
    more = write_images(tmp_path / "more", 1)
    (more / "0000.png").rename(more / "new.png")
    assert cli(snapshot, more, out)[0] == 0 and len(contents(out)) == 3
