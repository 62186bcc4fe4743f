"""Several processes share the tests: each runs once, and a failure in any is a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.__main__ import exit_code

FILE = """
import os, pytest
from pathlib import Path
from tests.sharing import NUMBER

@pytest.mark.parametrize("i", range(3))
def test_one(i, state=[]):
    state.append(i)
    assert state == list(range(i + 1))  # the file is run as a whole
    Path("ran-" + Path(__file__).stem + "-" + str(i)).open("a").write(os.environ[NUMBER])

{mark}
def test_other():
    assert {number}
"""


def test_each_file_is_run_by_one_process_and_a_failure_is_told(tmp_path: Path) -> None:
    for number in range(6):
        mark = "@pytest.mark.ray" if number % 2 else ""
        folder = tmp_path / f"part{number // 2}"
        folder.mkdir(exist_ok=True)
        (folder / f"test_{number}.py").write_text(FILE.format(mark=mark, number=number != 4))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = ray\n")
    command = [sys.executable, "-m", "tests", "--processes", "2", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [*command, tmp_path], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("FAILED") == 1 and "FAILED part2/test_4.py::test_other" in done.stdout
    ran = {path.name: path.read_text() for path in tmp_path.glob("ran-*")}
    assert len(ran) == 18 and set(ran.values()) <= {"1", "2"}
    assert {by for name, by in ran.items() if int(name[9]) % 2} == {"1"}  # Ray's


@pytest.mark.parametrize(
    ("codes", "code"), [([0, 0], 0), ([0, 5], 0), ([5, 5], 5), ([0, 1], 1), ([5, 1], 1), ([-9, 0], -9), ([2, 0], 2)]
)
def test_one_code_of_several(codes: list[int], code: int) -> None:
    assert exit_code(codes) == code
