"""Pipelines answer `--help` and refuse bad input before the libraries that take seconds are imported."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "ray", "mlflow", "torchvision", "matplotlib")
NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "pipelines").glob("[a-z]*.py"))
REFUSED = {
    "prepare": ["nowhere", "nowhere", "out"],
    "evaluate": ["nowhere", "--data", "data"],
    "promote": ["run", "--name", "horses"],
    "translate": ["nowhere", "images", "out"],
    "serve": ["nowhere"],
    "study": ["nowhere", "--data", "data"],
    "style": ["nowhere", "--data", "data"],
    "export": ["nowhere", "out"],
    "convert": ["nowhere", "out"],
    "gallery": ["nowhere", "a", "b", "out"],
    "sync": ["nowhere"],
    "runs": ["nowhere"],
    "verify": ["nowhere"],
    "drill": ["demo"],
}
CODE = f"""
import importlib, sys
def heavy():
    return [name for name in {HEAVY} if name in sys.modules]
from cyclegan_dist.errors import UsageError
for name in {NAMES}:
    importlib.import_module(f"pipelines.{{name}}")
    assert not heavy(), (name, heavy())
for name, arguments in {REFUSED}.items():
    sys.argv = [name, *arguments]
    try:
        sys.modules[f"pipelines.{{name}}"].main()
    except UsageError as error:
        print(name, error)
    else:
        raise AssertionError(name)
    assert not heavy(), (name, heavy())
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
