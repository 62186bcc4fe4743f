import contextlib
import errno
import importlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from cyclegan_dist import errors
from cyclegan_dist.errors import UsageError, pipeline_command, refuse_password, without_passwords
from tests.conftest import Answer

SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [f"ftp://me:{SECRET}@host/runs", f"simplecache::https://me:{SECRET}@host/x", f"abfs://box@account/x?sig={SECRET}"],
)
def test_a_url_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="checkpoints: a URL with a password or a query") as refused:
        refuse_password(url, "checkpoints")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["", "runs/what?", "C:me:x@y", "s3://bucket/a@b:c", "abfs://box@account.dfs/x", "http://host:80/data@v2"]
)
def test_other_places_are_taken(url: str) -> None:
    refuse_password(url, "checkpoints")


def test_messages_lose_names_and_passwords() -> None:
    text = f"no route to https://me:{SECRET}@host:80/x or https://other/y"
    assert without_passwords(text) == "no route to https://host:80/x or https://other/y"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ESTALE, errno.ENOSPC])
def test_an_error_of_the_storage_is_one_line_and_others_are_not(command: Callable[..., Answer], number: int) -> None:
    def fail(number: int) -> None:
        raise OSError(number, os.strerror(number), "/data/run")

    line = f"error: /data/run: {os.strerror(number)}; restore access or free space, and run the same command again\n"
    assert command(lambda: fail(number)) == (2, "", line)
    with pytest.raises(FileNotFoundError):
        command(lambda: fail(errno.ENOENT))


def test_a_missing_package_is_one_line_and_a_missing_module_of_ours_is_not(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "error: this needs the package nowhere_to_be_found: {}pip install nowhere_to_be_found\n"
    for base, advice in (("/usr", ""), (sys.prefix, "source .venv/bin/activate, or ")):
        monkeypatch.setattr(sys, "base_prefix", base)
        found = command(lambda: importlib.import_module("nowhere_to_be_found.models"))
        assert found == (2, "", line.format(advice))
    with pytest.raises(ModuleNotFoundError):
        errors.run_command(lambda: importlib.import_module("cyclegan_dist.nothing"))


@pytest.mark.parametrize("module", ["cyclegan_dist.train", "pipelines.prepare", "pipelines.runs"])
def test_without_the_environment_a_command_says_how_to_activate_it(module: str) -> None:
    run = (
        f"import runpy, sys; sys.path.insert(0, '.'); sys.argv = ['-m']; runpy.run_module({module!r}, None, '__main__')"
    )
    bare = [str(sys._base_executable), "-I", "-S", "-c", run]  # pyright: ignore[reportAttributeAccessIssue]
    done = subprocess.run(bare, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    line = "error: this needs the package tyro: source .venv/bin/activate, or pip install tyro\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


@pytest.mark.parametrize(
    ("output", "body", "code", "said"),
    [
        ("/dev/full", "raise UsageError('no')", 2, "error: no\n"),
        ("closed pipe", "raise UsageError('no')", 2, "error: no\n"),
        ("closed pipe", "raise PermissionError(13, 'no', 'x')", 2, "error: x: no; "),
        ("closed pipe", "raise KeyboardInterrupt", 130, "interrupted\n"),
        ("closed pipe", "return 0", 141, ""),
        ("/dev/full", "return 0", 2, "error: standard output: No space left on device; "),
        ("none", "return 0", 0, ""),
    ],
)
def test_output_that_cannot_be_written_hides_no_error(output: str, body: str, code: int, said: str) -> None:
    program = f"from cyclegan_dist.errors import *\ndef main():\n  print('x')\n  {body}\nrun_command(main)"
    if output == "closed pipe":
        reader, descriptor = os.pipe()
        os.close(reader)
    else:
        descriptor = os.open("/dev/full" if output == "/dev/full" else os.devnull, os.O_WRONLY)
    shell = 'exec "$@" >&-' if output == "none" else 'exec "$@"'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-c", program],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=descriptor,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(descriptor)
    assert done.returncode == code and done.stderr.count("\n") == bool(said)
    assert done.stderr.startswith(said)


def test_a_pipeline_is_named_as_it_can_be_run(tmp_path: Path) -> None:
    """In the repository by its folder; where only a wheel is installed, also beside a foreign `pipelines`."""
    assert pipeline_command("prepare") == "python -m pipelines.prepare"
    installed = tmp_path / "site-packages"
    (installed / "cyclegan_dist" / "pipelines").mkdir(parents=True)
    (installed / "cyclegan_dist" / "__init__.py").touch()
    shutil.copy(errors.__file__, installed / "cyclegan_dist" / "errors.py")
    (installed / "pipelines").mkdir()
    code = "from cyclegan_dist.errors import pipeline_command; print(pipeline_command('prepare'))"
    for foreign in (False, True):
        if foreign:
            (installed / "pipelines" / "__init__.py").touch()
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.stdout == "python -m cyclegan_dist.pipelines.prepare\n", done.stderr


def test_a_pipe_is_no_terminal_where_colours_are_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as notebooks and CI do
    with pytest.raises(SystemExit) as ended:
        errors.run_command(lambda: int(Console(file=sys.stdout).is_terminal))
    assert ended.value.code == 0


def test_a_notebook_shows_one_line() -> None:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        shell.run_cell("from cyclegan_dist.errors import UsageError\nraise UsageError('give another')")
    assert shown.getvalue() == "error: give another\n"
