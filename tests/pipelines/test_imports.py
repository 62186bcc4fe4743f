"""Commands answer `--help` and refuse bad input before the libraries that take seconds are imported."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    *("torch", "torchvision", "ray", "mlflow", "pydantic", "pandas", "pyarrow", "numpy", "scipy", "optuna"),
    *("matplotlib", "webdataset", "PIL", "tifffile", "torchmetrics", "starlette", "uvicorn", "jinja2"),
)
NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "pipelines").glob("[a-z]*.py"))
# Checks values of options: 0.1 s.
MAY_LOAD = {"pydantic"}
REFUSED = [
    ["prepare", "nowhere", "nowhere", "out"],
    ["prepare", "--nope"],
    ["prepare", ".", ".", "out", "--palette", "nothing"],
    ["evaluate", "nowhere", "--data", "data"],
    ["evaluate", ".", "--data", "nowhere"],
    ["promote", "run", "--name", "horses"],
    ["translate", "nowhere", "images", "out"],
    ["serve", "nowhere"],
    ["study", "nowhere", "--data", "data"],
    ["study", ".", "--data", "nowhere"],
    ["style", "nowhere", "--data", "data"],
    ["style", ".", "--data", "nowhere"],
    ["export", "nowhere", "out"],
    ["convert", "nowhere", "out"],
    ["gallery", "nowhere", "a", "b", "out"],
    ["compare", "one"],
    ["compare", "nowhere", "elsewhere"],
    ["compare", ".", "..", "--data", "nowhere"],
    ["reproduce", "nowhere"],
    ["reproduce", ".", "--data", "nowhere"],
    ["reproduce", ".", "--compare", "nowhere"],
    ["leaderboard", "nowhere", "--data", "data"],
    ["leaderboard", ".", "--data", "nowhere"],
    ["leaderboard", "--data", "data"],
    ["segmenter", "nowhere", "--palette", "streets"],
    ["distill", ".", "--data", "nowhere"],
    ["paper", "table1", "--data", "nowhere"],
    ["sweep", "nothing"],
    ["sync", "nowhere"],
    ["runs", "nowhere"],
    ["prune", "nowhere"],
    ["verify", "nowhere"],
    ["tokens", "list", "nowhere"],
    ["tokens", "create", "nowhere"],
    ["drill", "demo"],
    ["train", "nothing"],
    ["train", "demo", "--nope", "1"],
    ["nothing"],
]
CODE = f"""
import io, sys
from contextlib import redirect_stdout
from cyclegan_dist.errors import UsageError
from pipelines.__main__ import commands, run
def heavy(allowed=()):
    return [name for name in {HEAVY} if name in sys.modules and name not in allowed]
assert set(commands()) == {{"train", *{NAMES}}}
for name in ("", *commands()):
    page = io.StringIO()
    sys.argv = ["cyclegan", *filter(None, [name]), "--help"]
    try:
        with redirect_stdout(page):
            run()
    except SystemExit as end:
        assert not end.code, name
    assert page.getvalue().startswith(f"usage: cyclegan {{name}}"), (name, page.getvalue()[:200])
    assert not heavy(), (name, heavy())
for arguments in {REFUSED}:
    sys.argv = ["cyclegan", *arguments]
    try:
        run()
    except UsageError as error:
        print(arguments, error)
    else:
        raise AssertionError(arguments)
    assert not heavy({MAY_LOAD}), (arguments, heavy({MAY_LOAD}))
"""


def test_nothing_heavy_is_imported_for_help_or_bad_input() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_help_names_the_command(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    monkeypatch.delitem(sys.modules, f"pipelines.{name}", raising=False)  # runpy warns of a module that is imported
    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"pipelines.{name}", run_name="__main__", alter_sys=True)
    assert not end.value.code
    assert f"usage: python -m pipelines.{name}" in capsys.readouterr().out
