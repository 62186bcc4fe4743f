import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan_dist import __version__
from cyclegan_dist.errors import pipeline_command, train_command
from pipelines import __main__ as entry

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cyclegan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the entry as its console script does. Returns exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/cyclegan", *arguments])
        with pytest.raises(SystemExit) as end:
            entry.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_help_has_one_line_for_each_command(cyclegan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = cyclegan("--help")
    lines = [line.split(maxsplit=1) for line in out.splitlines()[4:] if line.startswith("  ")]
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) <= 80
    assert sorted(line[0] for line in lines) == sorted(entry.commands()) and all(len(line) == 2 for line in lines)
    assert cyclegan() == (code, out, err) == cyclegan("help")


def test_narrow_terminals_get_wrapped_lines(cyclegan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert max(map(len, cyclegan("--help")[1].splitlines())) <= 50


def test_version(cyclegan: Run) -> None:
    assert cyclegan("--version") == (0, f"cyclegan_dist {__version__}\n", "")


@pytest.mark.parametrize(
    ("name", "says"), [("preapre", "did you mean prepare?"), ("tran", "did you mean train?"), ("xyz", "--help")]
)
def test_an_unknown_command_is_refused_with_the_nearest(cyclegan: Run, name: str, says: str) -> None:
    code, out, err = cyclegan(name, "--load-size", "9")
    assert (code, out, err.count("\n")) == (2, "", 1) and repr(name) in err and says in err


def test_a_command_is_named_as_it_was_started(cyclegan: Run) -> None:
    code, _, err = cyclegan("prepare", "a")
    assert code == 2 and "cyclegan prepare: B_DIR" in err and "see cyclegan prepare --help" in err
    out = cyclegan("distill", "--help")[1]
    assert "    cyclegan distill SOURCE" in out and "    cyclegan promote RUN_DIR" in out and "python -m" not in out
    assert "usage: cyclegan train [-h] [OPTIONS] [PRESET]" in cyclegan("train", "--help")[1]
    assert (pipeline_command("sync"), train_command()) == ("cyclegan sync", "cyclegan train")


def test_a_command_gets_its_arguments_and_returns_its_code(cyclegan: Run, dataset: Path) -> None:
    code, out, err = cyclegan("verify", str(dataset), "--against", str(dataset))
    assert code == 1 and "are in" in out and not err


def test_the_console_script_is_the_entry() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"cyclegan": "cyclegan_dist.pipelines.__main__:main"}  # as the wheel calls `pipelines`
    assert callable(importlib.import_module("pipelines.__main__").main)


@pytest.mark.parametrize("arguments", [["pipelines"], ["pipelines.prepare", "--help"]])
def test_output_that_nothing_reads_ends_without_a_traceback(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (141, "")
