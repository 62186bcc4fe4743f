"""Data sets in a folder and at a URL: interrupted, continued, begun again, and prepared twice at the same time."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from cyclegan_dist.data.drafts import claim
from cyclegan_dist.data.manifest import open_manifest
from cyclegan_dist.data.prepare import prepare, prepare_at
from cyclegan_dist.data.prepare_config import PrepareConfig
from cyclegan_dist.data.verify import check_shards
from cyclegan_dist.data.workers import Workers, WorkersLostError, run_chunk
from cyclegan_dist.errors import UsageError
from tests.conftest import write_images


def contents(out: str) -> dict[str, bytes]:
    files, root = fsspec.core.url_to_fs(out)
    return {path.removeprefix(f"{root}/"): files.cat_file(path) for path in files.find(root)}


class StoppedError(Exception):
    pass


class Preparation:
    """Prepares the same images again and again, without processes.

    Attributes:
        encoded: images that the last one has encoded.
        lines: that it has reported.
    """

    def __init__(self, config: PrepareConfig):
        self.config = config
        self.encoded = 0
        self.lines: list[str] = []

    def __call__(self, out: str, stop_after: int = 0, error: Exception | None = None, **options: Any) -> None:
        self.encoded, self.lines = 0, []

        def progress(results: Iterable[Any], what: str, total: int) -> Iterator[Any]:
            for result in results:
                if what in (str(self.config.a_dir), str(self.config.b_dir)):
                    if stop_after and self.encoded == stop_after:
                        raise error or StoppedError
                    self.encoded += 1
                yield result

        class Here:
            def __init__(self, count: int):
                self.workers = Workers(1, lambda work, chunk: run_chunk(work, chunk), lambda done: done)

            def __enter__(self) -> Workers:
                return self.workers

            def __exit__(self, *error: object) -> None:
                pass

        config = replace(self.config, out=out, **options)
        prepare_at(config, self.lines.append, progress, workers=Here)


@pytest.fixture
def preparation(tmp_path: Path) -> Preparation:
    a, b = write_images(tmp_path / "A", 23, seed=1, size=8), write_images(tmp_path / "B", 20, seed=2, size=8)
    (a / "broken.png").write_text("no")
    (a / "broken too.png").write_text("no")
    return Preparation(
        PrepareConfig(a, b, "", samples_per_shard=4, validation=4, max_bad_fraction=0.2, names=("sun", "moon"))
    )


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Gives a place for a data set."""
    return {
        "folder": lambda name: str(tmp_path / name),
        "memory": lambda name: f"memory://{tmp_path.name}/{name}",
    }[request.param]


def test_an_interrupted_preparation_goes_on_and_gives_the_same_bytes(
    preparation: Preparation, place: Callable[[str], str]
) -> None:
    preparation(place("whole"))
    whole, lines = contents(place("whole")), preparation.lines
    assert len(whole) == 15 and preparation.encoded == 45
    for stop in (3, 18, 12, 11):
        with pytest.raises(StoppedError):
            preparation(place("out"), stop_after=stop)
        with pytest.raises(UsageError, match="no data set"):
            open_manifest(place("out"))
    preparation(place("out"))
    assert preparation.encoded == 8  # of the last two shards, of which none was complete
    assert contents(place("out")) == whole
    going_on, *others = preparation.lines
    assert "going on after 9 shards of a preparation that was interrupted" in going_on
    assert others == lines


def test_other_options_or_images_begin_it_again(preparation: Preparation, place: Callable[[str], str]) -> None:
    preparation(place("whole"), load_size=4, validation=0)
    whole = contents(place("whole"))
    with pytest.raises(StoppedError):
        preparation(place("out"), stop_after=43)
    preparation(place("out"), load_size=4, validation=0)
    assert "begun again, because the interrupted preparation was of other images, options" in preparation.lines[0]
    assert preparation.encoded == 45 and contents(place("out")) == whole
    with pytest.raises(StoppedError):
        preparation(place("changed"), stop_after=40)
    image = Path(preparation.config.a_dir) / "0003.png"
    os.utime(image, ns=(0, 0))
    preparation(place("changed"))
    assert preparation.encoded == 45


def test_another_image_of_equal_size_and_time_begins_it_again(preparation: Preparation, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        preparation(str(tmp_path / "out"), stop_after=40)
    image = Path(preparation.config.a_dir) / "0003.png"
    time = image.stat().st_mtime_ns
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(time, time))  # as a copy that keeps times
    preparation(str(tmp_path / "out"))
    assert preparation.encoded == 45


@pytest.mark.parametrize("moved", [0, 1, 3])
def test_what_is_interrupted_while_it_replaces_a_data_set_goes_on(
    preparation: Preparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    out, left, rename = str(tmp_path / "out"), [None] * moved, os.rename
    preparation(str(tmp_path / "whole"))
    preparation(out, load_size=4)
    Path(out, "notes.txt").touch()

    def rename_some(old: Path, new: Path) -> None:
        if not left:
            raise StoppedError
        left.pop()
        rename(old, new)

    monkeypatch.setattr(os, "rename", rename_some)
    with pytest.raises(StoppedError):
        preparation(out, overwrite=True)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="no data set"):
        open_manifest(out)
    preparation(out, overwrite=True)
    assert contents(out) == contents(str(tmp_path / "whole")) | {"notes.txt": b""}


def test_a_shard_that_was_cut_is_made_again(preparation: Preparation, place: Callable[[str], str]) -> None:
    preparation(place("whole"))
    with pytest.raises(StoppedError):
        preparation(place("out"), stop_after=40)
    files, root = fsspec.core.url_to_fs(place("out"))
    folder = root if "://" in place("out") else f"{Path(root).parent}/.out.unfinished/dataset"
    shard = f"{folder}/A/A-000003.tar"
    files.pipe_file(shard, files.cat_file(shard)[:-100])
    preparation(place("out"))
    assert 16 <= preparation.encoded <= 45 - 3 * 4 - 16  # three shards of A and all of B are whole
    assert contents(place("out")) == contents(place("whole"))


def test_a_data_set_at_a_url_is_replaced_only_if_asked_and_when_the_new_one_is_complete(
    preparation: Preparation, tmp_path: Path
) -> None:
    out = f"memory://{tmp_path.name}/out"
    preparation(out, load_size=4, samples_per_shard=2)
    before = contents(out)
    with pytest.raises(UsageError, match=f"{out} holds a data set: choose another place, or pass --overwrite"):
        preparation(out)
    with pytest.raises(StoppedError):
        preparation(out, stop_after=40, overwrite=True)
    assert {name: data for name, data in contents(out).items() if not name.startswith(".unfinished")} == before
    assert not [line for shard in check_shards(open_manifest(out)) for line in shard]
    with pytest.raises(UsageError, match="holds another data set: choose another place, or pass --overwrite"):
        preparation(out)
    preparation(out, overwrite=True)
    assert preparation.encoded < 45
    preparation(str(tmp_path / "out"))
    assert contents(out) == contents(str(tmp_path / "out"))


def test_what_is_no_data_set_at_a_url_stays(preparation: Preparation, tmp_path: Path) -> None:
    out = f"memory://{tmp_path.name}/mine"
    fsspec.filesystem("memory").pipe_file(f"/{tmp_path.name}/mine/thesis.tex", b"x")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is not empty and holds no data set"):
            preparation(out, overwrite=overwrite)
    assert contents(out) == {"thesis.tex": b"x"}


def test_a_preparation_of_another_machine_ends_the_one_before(preparation: Preparation, tmp_path: Path) -> None:
    """Object storage has no locks."""
    out = f"memory://{tmp_path.name}/out"
    state = f"/{tmp_path.name}/out/.unfinished/key.json"

    seen = iter([0] * 10)
    config = preparation.config

    def progress(results: Iterable[Any], what: str, total: int) -> Iterator[Any]:
        for result in results:
            if what == str(config.a_dir) and next(seen, None) is None:
                fsspec.filesystem("memory").pipe_file(state, b'{"owner": "another"}')
            yield result

    with pytest.raises(UsageError, match="another process has begun to prepare"):
        prepare_at(replace(config, out=out, workers=1), lambda line: None, progress)
    assert fsspec.filesystem("memory").cat_file(state) == b'{"owner": "another"}'


@pytest.mark.parametrize("url", [False, True])
def test_two_at_the_same_time_are_refused(preparation: Preparation, tmp_path: Path, url: bool) -> None:
    out = f"memory://{tmp_path.name}/out" if url else str(tmp_path / "out")
    code = (  # what `claim` does, without loading torch
        "import sys; from cyclegan_dist.data.location import scratch; from cyclegan_dist.storage.files import lock\n"
        "with lock(scratch(sys.argv[1], '.lock')): print('claimed', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "claimed\n"
        with pytest.raises(UsageError, match=f"another process prepares {out}: wait until it has ended"):
            preparation(out)
        process.kill()
    preparation(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A", "B", *(["out"] * (not url))]


def test_a_claim_leaves_nothing(tmp_path: Path) -> None:
    with claim(tmp_path / "deep" / "out"):
        assert [path.name for path in (tmp_path / "deep").iterdir()] == [".out.lock"]
    assert list((tmp_path / "deep").iterdir()) == []


def test_shards_stay_after_an_error_of_storage_or_workers_but_not_of_the_user(
    preparation: Preparation, tmp_path: Path
) -> None:
    out, draft = str(tmp_path / "out"), tmp_path / ".out.unfinished"
    with pytest.raises(UsageError, match=r"No space left .*; free space and run the same command again, which cont"):
        preparation(out, stop_after=20, error=OSError(28, "No space left on device"))
    assert draft.exists()
    with pytest.raises(UsageError, match="run the same command again"):
        preparation(out, stop_after=8, error=WorkersLostError("run the same command again"))
    assert draft.exists()
    with pytest.raises(UsageError, match="too many"):
        preparation(out, stop_after=8, error=UsageError("too many"))
    assert not draft.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
a, b, out, stop = sys.argv[1:]
count = 0
def progress(results, what, total):
    global count
    for result in results:
        count += what in (a, b)
        if count and count == int(stop):
            os.kill(os.getpid(), signal.SIGKILL)
        yield result
prepare(PrepareConfig(Path(a), Path(b), Path(out), samples_per_shard=3, workers=2), progress=progress)
print(count)
"""


@pytest.mark.slow
def test_a_killed_preparation_goes_on_and_its_processes_end(folders: tuple[Path, Path], tmp_path: Path) -> None:
    def run(out: str, stop: int) -> "subprocess.CompletedProcess[str]":
        # Its processes have the same pipe: this ends when all have ended.
        command = [sys.executable, "-c", KILLED, *map(str, folders), str(tmp_path / out), str(stop)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    prepare(PrepareConfig(*folders, tmp_path / "whole", samples_per_shard=3, workers=1))
    assert run("out", 12).returncode == -signal.SIGKILL
    done = run("out", 0)
    assert (done.returncode, done.stdout) == (0, "7\n") and "going on after 4 shards" in done.stderr
    assert contents(str(tmp_path / "out")) == contents(str(tmp_path / "whole"))
