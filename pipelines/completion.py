"""Print a script that completes commands, presets and options.

    eval "$(cyclegan completion bash)"      # in ~/.bashrc
    eval "$(cyclegan completion zsh)"       # in ~/.zshrc, after compinit

Options are those that `--help` of the command lists, for a training those of the preset's method. They are asked for
when Tab is pressed for the first time after a command, and then kept by bash. Everything else is completed as a file.
"""

import importlib
import io
import os
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Literal

import tyro

from cyclegan_dist.config.command_line import parse_options
from cyclegan_dist.config.shipped import Kind, shipped
from cyclegan_dist.errors import UsageError, run_command

from .__main__ import commands, module_name

SHIPPED: dict[str, Kind] = {
    **dict.fromkeys(("train", "doctor", "drill", "plan"), "preset"),
    "sweep": "sweep",
    "paper": "table",
}
OPTION = re.compile(r"^[│|]? {1,2}(?:-\w, )?(--[a-z][\w.-]*)(?:, (--[a-z][\w.-]*))?(?: \[?\{([^}]*)\})?", re.MULTILINE)
# zsh runs it by bashcompinit: no associative arrays, and no second index of a word.
SCRIPT = r"""
_cyclegan() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} name=${COMP_WORDS[1]}
    local names="" option="" choices="" preset=""
    COMPREPLY=()
    case $name in
NAMES
    esac
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W "COMMANDS --help --version" -- "$cur"))
        return
    elif [[ $cur != -* && $prev != -* ]]; then
        if (( COMP_CWORD == 2 )) && [[ -n $names ]]; then
            COMPREPLY=($(compgen -P "${cur%"${cur##*+}"}" -W "$names" -- "${cur##*+}"))
        fi
        return
    fi
    [[ -n $names && $COMP_CWORD -gt 2 ]] && preset=${COMP_WORDS[2]}
    if [[ $_cyclegan_asked != "$name $preset" ]]; then
        _cyclegan_options=$(cyclegan completion --options "$name" "$preset" 2>/dev/null)
        _cyclegan_asked="$name $preset"
    fi
    while read -r option choices; do
        if [[ $cur == -* ]]; then
            [[ $option == "$cur"* ]] && COMPREPLY+=("$option")
        elif [[ $option == "$prev" && -n $choices ]]; then
            COMPREPLY=($(compgen -W "$choices" -- "$cur"))
        fi
    done <<< "$_cyclegan_options"
}
complete -o default -F _cyclegan cyclegan
"""


@dataclass(frozen=True)
class Completion:
    """Print a script that completes commands, presets and options."""

    shell: tyro.conf.Positional[Literal["bash", "zsh"]] = "bash"
    """Shell that reads the script."""
    options: tuple[str, ...] = ()
    """Print the options of this command instead, one a line, each with its choices. A preset may follow."""


def script(shell: str) -> str:
    """The script for a shell."""
    kinds = [f"        {name}) names='{' '.join(shipped(kind))}' ;;" for name, kind in SHIPPED.items()]
    text = SCRIPT.replace("NAMES", "\n".join(kinds)).replace("COMMANDS", " ".join(commands()))
    return ("autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else "") + text.lstrip()


def options(name: str, preset: str = "") -> dict[str, list[str]]:
    """The options of a command, read from its help, each with its choices.

    Raises:
        UsageError: if there is no such command or preset.
    """
    if name not in commands():
        raise UsageError(f"no command {name!r}")
    module = importlib.import_module(module_name(name))
    found: dict[str, list[str]] = {}
    # The preset picks the method, whose options are offered.
    for option, negated, choices in OPTION.findall(_help(module.main, [preset] if preset and name == "train" else [])):
        found[option] = [choice for choice in choices.split(",") if choice not in ("", "None")]
        found |= {negated: []} if negated else {}
    if name != "train" and "--dotted.key" in (module.__doc__ or ""):  # options of a training besides its own
        found = {**options("train", preset if SHIPPED.get(name) == "preset" else ""), **found}
    return found


def _help(main: Callable[[], object], arguments: list[str]) -> str:
    os.environ["COLUMNS"] = "129"  # tyro sets wider help in columns
    page = io.StringIO()
    before = sys.argv
    sys.argv = [before[0], *arguments, "--help"]
    try:
        with redirect_stdout(page):
            main()
    except SystemExit:
        pass
    finally:
        sys.argv = before
    return page.getvalue()


def main() -> None:
    """Read the command line and print the script."""
    command = parse_options(Completion, "completion", __doc__)
    if not command.options:
        print(script(command.shell), end="")
        return
    for option, choices in options(*command.options[:2]).items():
        print(" ".join((option, *choices)))


if __name__ == "__main__":
    run_command(main)
