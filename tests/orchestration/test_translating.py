"""Translating on a real Ray cluster: one worker, two, and one that was killed."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from cyclegan_dist.errors import UsageError
from cyclegan_dist.translation.job import Job, Task
from cyclegan_dist.translation.work import JobWorker
from pipelines import translate
from tests.conftest import Answer, write_images
from tests.orchestration.conftest import Head
from tests.translation.conftest import contents, make_snapshot
from tests.translation.videos import read_video, smooth, write_video

pytestmark = [pytest.mark.ray, pytest.mark.slow]

COMMAND = [sys.executable, "-m", "pipelines.translate"]
# As the command, several times in one process.
COMMANDS = """
import sys
from cyclegan_dist.errors import run_command
from pipelines import translate
def main():
    for arguments in sys.stdin.read().splitlines():
        sys.argv = ["translate", *arguments.split()]
        translate.main()
run_command(main)
"""


def killed(arguments: list[str], out: Path, environment: dict[str, str]) -> int:
    """Start the command, and kill it when the first files are there. Returns their number."""
    process = subprocess.Popen([*COMMAND, *arguments], env=environment, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 90
    while time.monotonic() < limit and not list(out.glob("[0-9]*.png")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    count = -1
    while count != (count := len(list(out.glob("[0-9]*.png")))):  # its worker may be in the middle of a file
        time.sleep(1)
    return count


def test_one_worker_two_and_a_killed_run_give_the_same_files(
    head: Head, dataset: Path, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    snapshot, images = make_snapshot(tmp_path / "snapshot"), write_images(tmp_path / "in", 100, size=160)
    (images / "broken.png").write_text("no")
    outs = {name: tmp_path / name for name in ("files", "shards")}
    done = killed([str(snapshot), str(images), str(outs["files"]), "--workers", "1"], outs["files"], head.client)
    assert 0 < done < 100
    shards = [str(dataset), "--direction", "BA", "--batch-size", "3"]
    lines = [
        f"{snapshot} {images} {outs['files']} --workers 2",
        f"{snapshot} {' '.join(shards)} {outs['shards']} --workers 1",
        f"{snapshot} {images} {tmp_path / 'refused'} --workers 9",
    ]
    run = [sys.executable, "-c", COMMANDS]
    ended = subprocess.run(run, input="\n".join(lines), env=head.client, capture_output=True, text=True, timeout=150)
    assert ended.returncode == 2, ended.stderr
    assert "error: --workers 9 is more than the cluster's 2 CPU cores: lower it, or add nodes\n" in ended.stderr
    assert f"{100 - done} images translated to {outs['files']}, {done} images done before" in ended.stdout
    assert ended.stderr.count("left out ") == 1 and "Traceback" not in ended.stderr
    assert command(translate.main, snapshot, images, tmp_path / "alone")[0] == 1
    assert command(translate.main, snapshot, *shards, tmp_path / "shards alone")[0] == 0
    assert len(contents(outs["files"])) == 100 and len(contents(outs["shards"])) == 3
    assert contents(outs["files"]) == contents(tmp_path / "alone")
    assert contents(outs["shards"]) == contents(tmp_path / "shards alone")


def test_a_worker_translates_a_video(tmp_path: Path) -> None:
    from cyclegan_dist.orchestration.translating import TranslationActor, read_row

    job = Job(snapshot=str(make_snapshot(tmp_path / "snapshot")), direction="AB", batch_size=2, codec="ffv1")
    video = write_video(tmp_path / "in.mkv", smooth(5), codec="ffv1", pixels="bgr0")
    made = {name: tmp_path / f"{name}.mkv" for name in ("alone", "worker")}
    row = {"source": str(video), "target": str(made["worker"])}
    result = read_row(TranslationActor(asdict(job))(row))
    assert (result.videos, result.frames, result.written, result.left_out) == (1, 5, 0, [])
    assert any("the input changes by" in note for note in result.notes)
    JobWorker(job)([Task(source=str(video), target=str(made["alone"]))])
    assert np.array_equal(read_video(made["worker"])[0], read_video(made["alone"])[0])
    video.write_bytes(b"broken")
    result = read_row(TranslationActor(asdict(job))(row))
    assert (result.videos, len(result.left_out)) == (0, 1) and "no video that can be read" in result.left_out[0]


def test_a_worker_returns_its_errors(tmp_path: Path) -> None:
    """As a result, not as an exception, which Ray would wrap and retry."""
    from cyclegan_dist.orchestration.translating import TranslationActor, read_row

    job = Job(snapshot=str(make_snapshot(tmp_path / "snapshot")), direction="AB", tile=8)
    with pytest.raises(UsageError, match="tile 8: give at least 32"):
        read_row(TranslationActor(asdict(job))({"source": "in.png", "target": "out.png"}))
    images = write_images(tmp_path / "in", 1)
    worker = TranslationActor(asdict(replace(job, tile=0)))
    with pytest.raises(UsageError, match=r"cannot write /proc/out\.png"):
        read_row(worker({"source": str(images / "0000.png"), "target": "/proc/out.png"}))
    assert read_row(worker({"source": str(images / "0000.png"), "target": str(tmp_path / "out.png")})).written == 1
