from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import tyro

from cyclegan_dist.config.command_line import parse_options, parse_with_overrides, read_overrides, replace_set
from cyclegan_dist.errors import UsageError
from tests.conftest import Answer


@dataclass(frozen=True)
class Options:
    source: tyro.conf.Positional[Path]
    """Folder to read."""
    batch_size: int = 1
    """Images at once."""
    kind: Literal["one", "two"] = "one"
    """Of which kind."""
    device: Literal["auto", "cpu"] = "auto"
    """Where to compute."""
    mlflow: bool = True
    """Send to MLflow."""


def main() -> None:
    """Print the options."""
    print(parse_options(Options, "prepare", "Read with python -m pipelines.prepare."))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Missing from python -m pipelines.prepare: SOURCE Folder to read; see python -m pipelines.prepare --help"),
        (("x", "y"), "Unrecognized options: y"),
        (("x", "--batch-sise", "3"), "unknown option --batch-sise, did you mean --batch-size?"),
        (("x", "--no-mflow"), "unknown option --no-mflow, did you mean --no-mlflow?"),
        (("x", "--batch_size", "three"), "Error parsing --batch-size: invalid literal for int()"),
        (("x", "--kind", "tow"), "invalid choice 'tow' for argument '--kind'"),
        (
            ("x", "--device", "mps"),
            "Expected one of ('auto', 'cpu'): torch cannot exchange gradients between Apple GPUs",
        ),
        (("x", "--batch-size"), "Missing value for argument '--batch-size'"),
    ],
)
def test_bad_input_is_one_line(command: Callable[..., Answer], arguments: tuple[str, ...], says: str) -> None:
    code, _, err = command(main, *arguments)
    assert code == 2 and err.startswith("error: ") and says in err and err.count("\n") == 1


def test_options_are_parsed_with_dashes_and_underscores(command: Callable[..., Answer]) -> None:
    assert command(main, "x", "--batch-size", 3, "--no-mlflow") == command(main, "x", "--batch_size=3", "--no_mlflow")


def test_help_goes_to_standard_output(command: Callable[..., Answer]) -> None:
    code, out, err = command(main, "--help")
    assert code == 0 and "Images at once." in out and "Read with python -m pipelines.prepare." in out and not err


def test_overrides_are_yaml_by_dotted_key() -> None:
    arguments = ["--optim.lr", "0.5", "--data.crop-size=64", "--data.flip", "True", "--world.num_workers", "1", "4"]
    values = {"optim.lr": 0.5, "data.crop_size": 64, "data.flip": True, "world.num_workers": [1, 4]}
    assert read_overrides(arguments) == values
    assert read_overrides([]) == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["data"], "unexpected argument data: give options as --data.path"),
        (["--optim.lr"], "--optim.lr has no value"),
        (["--optim.lr", "[1"], "--optim.lr is not YAML"),
    ],
)
def test_bad_overrides_are_refused(arguments: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("[", r"\[")):
        read_overrides(arguments)


def test_overrides_are_separated_from_own_options(command: Callable[..., Answer]) -> None:
    def main() -> None:
        print(*parse_with_overrides(Options, "prepare", None))

    code, out, _ = command(main, "x", "--batch-size", 3, "--optim.lr", 0.5, "--name", "other")
    assert code == 0 and "batch_size=3" in out and "{'optim.lr': 0.5, 'name': 'other'}" in out
    code, _, err = command(main, "x", "--batch-sise", 3)
    assert code == 2 and err == "error: unknown option --batch-sise, did you mean --batch-size?\n"


def test_set_is_replaced_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "--set", "data.path=x=y", "optim.lr=1", "--name", "n", "--set=seed=3"]
    assert replace_set(["--set", "data.flip=true"]) == ["--data.flip=True"]
    assert replace_set(arguments) == ["demo", "--data.path=x=y", "--optim.lr=1", "--name", "n", "--seed=3"]
    assert "--set is deprecated: write --data.path x=y\n" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"--set optim\.lr: write --optim\.lr VALUE"):
        replace_set(["--set", "optim.lr"])
