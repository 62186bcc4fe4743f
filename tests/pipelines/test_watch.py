"""The command, as users run it."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from pipelines.watch import main
from tests.conftest import Answer
from tests.watch.runs import make_run


@pytest.mark.slow
def test_it_serves_until_it_is_interrupted(own_home: Path) -> None:
    make_run(own_home / "runs" / "one")
    words = [sys.executable, "-c", WATCH, "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith(f"watch {own_home}/runs at http://127.0.0.1:"), process.communicate()
        url = line.split(" at ")[1].split()[0]
        assert requests.get(f"{url}state", timeout=20).json()["run"] == "one"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("", "") and process.returncode == 0


WATCH = """
import sys
from pipelines.watch import main
main()
assert not {"torch", "mlflow", "ray"} & {*sys.modules}
"""


def test_what_is_no_folder_is_refused(command: Callable[..., Answer], own_home: Path) -> None:
    code, out, err = command(main)
    assert (code, out) == (2, "")
    assert err == f"error: {own_home}/runs is not a folder: give that of a run, or the --runs_dir of the trainings\n"
