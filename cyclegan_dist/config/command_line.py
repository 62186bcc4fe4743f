"""Command lines as dataclasses: errors are one line, and a config's values are given as `--dotted.key value`."""

import contextlib
import dataclasses
import difflib
import io
import sys
import typing
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import tyro

from cyclegan_dist.config.config import Config
from cyclegan_dist.config.yaml_tree import read_yaml
from cyclegan_dist.errors import UsageError, pipeline_command, train_command
from cyclegan_dist.step.world_config import MPS, NO_MPS

T = TypeVar("T")
EXAMPLE = "--data.path data/horse2zebra"


def parse_options(kind: type[T], pipeline: str, description: str | None, **options: Any) -> T:
    """The command line of a pipeline as a dataclass; `options` are those of `tyro.cli`.

    Raises:
        UsageError: for an option that does not exist, or a value that does not fit.
    """
    refuse_unknown_option(sys.argv[1:], option_names(kind))
    return parse(kind, **_texts(pipeline, description), **options)


def parse_own_options(kind: type[T], pipeline: str, description: str | None) -> tuple[T, list[str]]:
    """Like `parse_options`, for a pipeline that also takes config values. Also returns the remaining arguments."""
    command, rest = parse(kind, return_unknown_args=True, **_texts(pipeline, description))
    return command, replace_set(rest)


def parse_with_overrides(kind: type[T], pipeline: str, description: str | None) -> tuple[T, dict[str, Any]]:
    """The options of a pipeline that also takes config values as `--dotted.key value`, and these values.

    The keys are checked against the config that they override; only an option without a dot is checked here.

    Raises:
        UsageError: as `parse_options` and `read_overrides`.
    """
    command, rest = parse_own_options(kind, pipeline, description)
    top = [part.name for part in dataclasses.fields(Config)]
    undotted = [argument for argument in rest if "." not in argument.partition("=")[0]]
    refuse_unknown_option(undotted, (*option_names(kind), *top))
    return command, read_overrides(rest)


def _texts(pipeline: str, description: str | None) -> dict[str, Any]:
    text = with_commands(description)
    return {"prog": pipeline_command(pipeline), "description": text}


def with_commands(text: str | None) -> str:
    """A command's docstring, in which commands are spelled as they are run here."""
    spelled = (text or "").replace("python -m pipelines.", pipeline_command(""))
    return spelled.replace("python -m cyclegan_dist.train", train_command())


def parse(kind: Any, *, config: Sequence[Any] = (), **options: Any) -> Any:
    """`tyro.cli`, with errors of one line instead of its page, and positional arguments called by their names.

    Raises:
        UsageError: for arguments that do not fit.
    """
    page = io.StringIO()
    try:
        with contextlib.redirect_stderr(page):
            return tyro.cli(kind, config=(*config, tyro.conf.PositionalMetavarFromFieldName), **options)
    except SystemExit as end:
        if not end.code:
            raise
    text = _first_paragraph(page.getvalue())
    if f"choice '{MPS}' for" in text:
        text = f"{text}: {NO_MPS}"
    raise UsageError(f"{text}; see {options['prog']} --help")


def _first_paragraph(page: str) -> str:
    """The text in tyro's frame above its first horizontal line, or all of it."""
    lines = [line.strip("│╭╮╰╯|+ ") for line in page.splitlines()]
    rules = [number for number, line in enumerate(lines) if line.endswith(("──", "--"))]
    text = lines[rules[0] + 1 : rules[1]] if len(rules) > 1 else lines
    return " ".join(filter(None, text)).replace(" (required)", "").rstrip(".")


def option_names(kind: type[Any], prefix: str = "") -> list[str]:
    """The options of a dataclass, spelled as in `--help`; those of an annotated dataclass inside it have no prefix."""
    names: list[str] = []
    for name, annotated in typing.get_type_hints(kind, include_extras=True).items():
        is_annotated = typing.get_origin(annotated) is typing.Annotated
        hint = annotated.__origin__ if is_annotated else annotated
        spelled = name.replace("_", "-")
        if dataclasses.is_dataclass(hint):
            names += option_names(typing.cast(type, hint), prefix if is_annotated else f"{prefix}{spelled}.")
            continue
        names += [f"{prefix}{spelled}", f"{prefix}no-{spelled}"] if hint is bool else [f"{prefix}{spelled}"]
    return names


def refuse_unknown_option(arguments: Iterable[str], known: Iterable[str]) -> None:
    """Refuse an option that is not known, whether spelled with dashes or underscores.

    Raises:
        UsageError: naming the nearest known one.
    """
    names = {name.replace("-", "_"): name for name in (*known, "help", "h")}
    for argument in arguments:
        option = argument.split("=")[0].lstrip("-")
        key = option.replace("-", "_")
        if argument.startswith("-") and argument != "-" and not argument[1:2].isdigit() and key not in names:
            same_end = [k for k in names if k.split(".")[-1] == key.split(".")[-1]]
            close = same_end or difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            raise UsageError(f"unknown option --{option}" + (f", did you mean --{names[close[0]]}?" if close else ""))


def read_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """The values of `--dotted.key value` or `--dotted.key=value`, read as YAML; several values are a list.

    Raises:
        UsageError: for an option without a value, a value without an option, or one that is not YAML.
    """
    values: dict[str, list[Any]] = {}
    key = ""
    for argument in arguments:
        if argument.startswith("--"):
            key, separator, value = argument[2:].partition("=")
            key = key.replace("-", "_")
            values[key] = [read_yaml(value, argument)] if separator else []
        elif not key:
            raise UsageError(f"unexpected argument {argument}: give options as {EXAMPLE}")
        else:
            values[key].append(read_yaml(argument, f"--{key}"))
    if empty := [key for key, found in values.items() if not found]:
        raise UsageError(f"--{empty[0]} has no value: give one, as {EXAMPLE}")
    return {key: found[0] if len(found) == 1 else found for key, found in values.items()}


def replace_set(arguments: Sequence[str]) -> list[str]:
    """Arguments with the deprecated `--set KEY=VALUE ...` as `--KEY=VALUE ...`; prints how to write them.

    Raises:
        UsageError: for a text without =.
    """
    replaced: list[str] = []
    within = False
    for argument in arguments:
        if argument.startswith("--"):
            within = argument == "--set" or argument.startswith("--set=")
            argument = argument.removeprefix("--set").removeprefix("=") if within else argument
        if within and argument:
            if "=" not in argument:
                raise UsageError(f"--set {argument}: write --{argument} VALUE, as {EXAMPLE}")
            key, _, value = argument.partition("=")
            argument = f"--{key}={value.capitalize() if value in ('true', 'false') else value}"
            print(f"--set is deprecated: write {argument.replace('=', ' ', 1)}", file=sys.stderr)
        replaced += [argument] if argument or not within else []
    return replaced
