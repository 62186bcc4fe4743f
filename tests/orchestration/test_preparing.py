"""Preparing on a real Ray cluster: any number of workers, and one that is killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cyclegan_dist.data.prepare import prepare
from cyclegan_dist.data.prepare_config import PrepareConfig
from tests.conftest import write_images
from tests.orchestration.conftest import Head

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# The command, several times in one process.
COMMANDS = """
import sys
from cyclegan_dist.errors import run_command
from pipelines import prepare
def main():
    for arguments in sys.stdin.read().splitlines():
        sys.argv = ["prepare", *arguments.split()]
        prepare.main()
run_command(main)
"""


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def actors(head: Head) -> list[psutil.Process]:
    family = psutil.Process(head.process.pid).children(recursive=True)
    return [process for process in family if "PreparingActor" in " ".join(process.cmdline())]


def test_the_bytes_are_those_of_one_machine_also_if_a_worker_is_killed(head: Head, tmp_path: Path) -> None:
    a, b = write_images(tmp_path / "A", 300, seed=1, size=200), write_images(tmp_path / "B", 60, seed=2)
    (a / "broken.png").write_text("no")
    options = "--samples-per-shard 50 --load-size 20 --validation 10 --ray"
    lines = [
        f"{a} {b} {tmp_path / 'two'} {options}",
        f"{a} {b} {tmp_path / 'refused'} {options} --workers 9",
    ]
    run = [sys.executable, "-c", COMMANDS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(run, env=head.client, text=True, **pipes) as process:
        assert process.stdin is not None
        process.stdin.write("\n".join(lines))
        process.stdin.close()
        process.stdin = None
        shard = tmp_path / ".two.unfinished" / "dataset" / "A" / "A-000000.tar"
        limit = time.monotonic() + 90
        while not shard.exists() and time.monotonic() < limit:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        actors(head)[0].kill()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert err.endswith("error: --workers 9 is more than the cluster's 2 CPU cores: lower it, or add nodes\n")
    assert out.count("290 images of A, 50 images of B in 7 shards") == 1 and "Traceback" not in err
    config = PrepareConfig(
        a, b, tmp_path / "alone", samples_per_shard=50, load_size=20, validation=10, workers=os.cpu_count() or 1
    )
    prepare(config, lambda line: None)
    whole = everything(tmp_path / "alone")
    assert everything(tmp_path / "two") == whole
    assert not (tmp_path / "refused").exists()
