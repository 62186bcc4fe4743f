"""One entry to all commands: `cyclegan NAME ...` is `python -m pipelines.NAME ...`, and `cyclegan train` the training.

Only the command that runs is imported, so that help and errors come at once.
"""

import difflib
import importlib
import shutil
import sys
import textwrap
from pathlib import Path

import cyclegan_dist
from cyclegan_dist.errors import UsageError, run_command

FOLDER = Path(__file__).parent
TRAIN = Path(cyclegan_dist.__file__).with_name("train.py")
# The order of `cyclegan --help`; commands that are in no group come last.
GROUPS = {
    "Data": ("prepare", "verify", "palette"),
    "Training": ("train", "runs", "prune", "watch", "sweep", "distill", "paper", "demo"),
    "Measuring": ("evaluate", "gallery", "compare", "reproduce", "leaderboard", "segmenter", "style", "study"),
    "Using": ("translate", "promote", "serve", "tokens", "export", "browser", "convert"),
    "Clusters": ("plan", "doctor", "drill", "sync"),
}
OTHERS = "Other"


def commands() -> dict[str, Path]:
    """The source file of each command, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("[a-z]*.py"))} | {"train": TRAIN}


def module_name(command: str) -> str:
    """The module of a command, which has a function `main`."""
    return "cyclegan_dist.train" if command == "train" else f"{__package__}.{command}"


def summary(source: Path) -> str:
    """The first line of a module's docstring, read without importing the module."""
    return source.read_text(encoding="utf-8").split('"""', 2)[1].splitlines()[0]


def table(width: int) -> str:
    """The help: all commands in their groups, one line each, wrapped to `width` columns."""
    sources = commands()
    listed = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, OTHERS: tuple(name for name in sources if name not in listed)}
    indent = max(map(len, sources)) + 4
    lines = [
        "usage: cyclegan COMMAND [ARGUMENTS]",
        "       cyclegan COMMAND --help",
        "       cyclegan --version",
    ]
    for heading, names in groups.items():
        lines += ["", heading]
        for name in names:
            first = f"  {name}".ljust(indent)
            text = summary(sources[name]).rstrip(".")
            lines.append(textwrap.fill(text, width, initial_indent=first, subsequent_indent=" " * indent))
    return "\n".join(lines)


def run() -> int | None:
    """Run the command that the arguments name. Returns its exit code.

    Raises:
        UsageError: if there is no such command, naming the nearest; and those of the command.
    """
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(table(min(shutil.get_terminal_size().columns, 100)))
        return 0
    if name in ("-V", "--version"):
        print(f"cyclegan_dist {cyclegan_dist.__version__}")
        return 0
    known = commands()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        guess = f", did you mean {close[0]}?" if close else ""
        raise UsageError(f"no command {name!r}{guess or ':'} see cyclegan --help")
    sys.argv[1:] = arguments
    return importlib.import_module(module_name(name)).main()


def main() -> None:
    """The console script `cyclegan`."""
    run_command(run)


if __name__ == "__main__":
    main()
