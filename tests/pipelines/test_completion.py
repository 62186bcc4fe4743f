import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cyclegan_dist.config.shipped import shipped
from cyclegan_dist.errors import UsageError
from pipelines.__main__ import commands
from pipelines.completion import SHIPPED, options, script

ROOT = Path(__file__).parents[2]
COMPLETE = """
complete_words() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cyclegan; echo "${COMPREPLY[*]}"
}
"""


def test_options_are_those_of_the_help_with_their_choices() -> None:
    found = options("prepare")
    assert found["--pairs"] == ["none", "names", "halves", "some", "cityscapes"] and found["--load-size"] == []
    assert {"--overwrite", "--no-overwrite", "--help"} <= found.keys()


def test_options_of_a_training_are_those_of_its_method() -> None:
    assert "--method.lambda_cycle_A" in options("train") and "--method.nce_tau" not in options("train")
    found = options("train", "cut")
    assert "--method.nce_tau" in found and "--method.lambda_cycle_A" not in found
    assert found["--launcher"] == ["auto", "ray", "local"]


def test_commands_that_take_options_of_a_training_offer_them() -> None:
    assert {"--data.path", "--network", "--method.nce_tau"} <= options("doctor", "cut").keys()
    assert {"--data.path", "--base"} <= options("sweep", "default").keys()


@pytest.mark.parametrize("arguments", [("nothing",), ("train", "nothing")])
def test_options_of_what_does_not_exist_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="nothing"):
        options(*arguments)


def test_every_command_has_options_to_complete() -> None:
    for name in commands().keys() - {*SHIPPED, "distill"}:  # those are asked for a training's options above
        assert "--help" in options(name) and all(option.startswith("--") for option in options(name)), name


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_presets_options_and_choices(tmp_path: Path) -> None:
    program = tmp_path / "cyclegan"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexec {sys.executable} -m pipelines "$@"\n')
    program.chmod(0o755)
    asked = [
        ("prep", "prepare"),
        ("train streets+fast", "streets+fastcut"),
        ("train cut --method.nce_t", "--method.nce_tau"),
        ("train cut --method.nce_i", "--method.nce_idt"),
        ("train cut --launcher l", "local"),
        ("train cut --data.path f", ""),  # files, by readline
        ("sweep ab", "ablations"),
        ("prepare photos/h", ""),
    ]
    lines = [f"complete_words cyclegan {words}" for words, _ in asked]
    text = "\n".join((script("bash"), COMPLETE, *lines))
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", text], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout.splitlines(), done.stderr) == ([answer for _, answer in asked], "")
    assert (tmp_path / "asked").read_text() == "completion --options train cut\n"  # once


def test_zsh_reads_it_as_bash_does() -> None:
    first, _, rest = script("zsh").partition("\n")
    assert "bashcompinit" in first and rest == script("bash")
    assert all(name in rest for name in (*commands(), *shipped("preset"), *shipped("table")))
