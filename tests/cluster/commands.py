"""Extraction of command lines from shell text, and their programs' own parsers."""

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import click
import tyro

from cyclegan_dist import train

# Values of shell variables. An unknown variable is an error.
VARIABLES = {"RAY_HEAD_IP": "192.0.2.10", "PWD": "/home/me"}
PROGRAMS = ("ray", "torchrun", "mlflow")


class NotParsedError(Exception):
    """A program's parser refuses a command line."""


def expanded(text: str) -> str:
    """The text with shell variables replaced by their values."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: VARIABLES[match[1]], text)


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of every call of ray, torchrun, mlflow and python -m, anywhere in a line: after variables, `docker
    compose exec` or `kubectl exec`, or quoted for another shell or machine.
    """
    for line in re.sub(r"\\\n", " ", text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        part: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|()<>"):
                yield from _calls(part)
                part = []
            else:
                part.append(word)


def _calls(words: list[str]) -> Iterator[list[str]]:
    for word in words:  # a command for another shell
        if " " in word and re.search(r"python -m|\bray ", word):
            yield from command_lines(word)
    for i, word in enumerate(words):
        if word in PROGRAMS or words[i : i + 2] == ["python", "-m"]:
            yield [expanded(argument) for argument in words[i:]]
            return


def parse(words: list[str]) -> Any:
    """Parse a command line with the program's own parser, and the command after its `--` with that command's parser.

    Raises:
        NotParsedError: if it is refused.
    """
    parser = {"ray": _ray, "torchrun": _torchrun, "mlflow": _mlflow}.get(words[0], _module)
    try:
        return parser(words[1:])
    except click.exceptions.Exit:
        raise NotParsedError(f"prints help only: {words}") from None
    except (click.ClickException, SystemExit, train.UsageError, LookupError, ModuleNotFoundError) as error:
        raise NotParsedError(f"{shlex.join(words)}: {error}") from error


def _ray(words: list[str]) -> dict[str, Any]:
    from ray.scripts.scripts import cli, start
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    own, inner = _split(words)
    context = _click(cli, "ray", words)
    if own[:1] == ["symmetric-run"]:
        for node in (["--head"], ["--address=192.0.2.10:6379", "--block"]):
            start.make_context("ray start", [*node, *curate_and_validate_ray_start_args(own[1:])])
    if inner:
        parse(inner[inner.index("python") :])
    return context.params


def _mlflow(words: list[str]) -> dict[str, Any]:
    from mlflow.cli import cli

    return _click(cli, "mlflow", words).params


def _torchrun(words: list[str]) -> Any:
    from torch.distributed.run import get_args_parser

    options = get_args_parser().parse_args(words)
    _module(["-m", options.training_script, *options.training_script_args])
    return options


def _module(words: list[str]) -> Any:
    """Parse `python -m MODULE ARGUMENTS` without running the module's command."""
    name, arguments = words[words.index("-m") + 1], words[words.index("-m") + 2 :]
    if name == train.__name__:
        return train.parse(arguments)
    # Where the package is installed, its pipelines have this prefix; here they are found without it.
    in_repository = name.removeprefix("cyclegan_dist.") if name.startswith("cyclegan_dist.pipelines.") else name
    module, before, real = importlib.import_module(in_repository), sys.argv, tyro.cli
    parsed: list[Any] = []

    def stop(*positional: Any, **options: Any) -> None:
        parsed.append(real(*positional, **options))
        raise StopIteration

    sys.argv, tyro.cli = [name, *arguments], stop
    try:
        module.main()
    except StopIteration:
        return parsed[0]
    finally:
        sys.argv, tyro.cli = before, real
    raise NotParsedError(f"{name} has no command line of tyro")


def _click(command: click.Command, name: str, words: list[str]) -> click.Context:
    context, rest = None, list(words)
    while isinstance(command, click.Group):
        context = click.Context(command, info_name=name, parent=context)
        name, command = rest[0], command.get_command(context, rest[0]) or _unknown(rest[0])
        rest = rest[1:]
    return command.make_context(name, rest, parent=context)


def _unknown(name: str) -> click.Command:
    raise click.UsageError(f"no command {name}")


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]
