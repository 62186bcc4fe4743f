"""Nested dictionaries from YAML: reading, flattening, and validation against a dataclass with one-line errors."""

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import yaml

from cyclegan_dist.config.without_pydantic import convert
from cyclegan_dist.errors import UsageError
from cyclegan_dist.step.world_config import MPS, NO_MPS

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """Plain values only, of which true and false are booleans, as in YAML 1.2: on and off are values of options. No
    aliases: half a kilobyte of them can stand for gigabytes.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark
            raise yaml.MarkedYAMLError(None, None, "aliases are not supported: repeat the value", mark)
        return super().compose_node(parent, index)


_BOOLEAN = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag != _BOOLEAN]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_yaml(text: str | bytes, source: str) -> Any:
    """The plain values that YAML `text` holds, bytes as UTF-8; `source` is named in errors.

    Raises:
        UsageError: if it is not YAML, is nested too deeply, or has aliases or tags that create objects.
    """
    try:
        return yaml.load(text.decode() if isinstance(text, bytes) else text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    except RecursionError:
        raise UsageError(f"{source} is not YAML: it is nested too deeply") from None


def read_tree(text: str | bytes, source: str) -> dict[str, Any]:
    """The mapping that YAML `text` holds; `source` is named in errors."""
    tree = read_yaml(text, source)
    if not isinstance(tree, dict | None):
        raise UsageError(f"{source} must be a YAML mapping")
    return tree or {}


def refuse_unknown(keys: Iterable[str], known: Iterable[str], source: str) -> None:
    """Refuse keys that are neither known nor the beginning of known ones.

    Raises:
        UsageError: naming the first with the nearest known one.
    """
    known = sorted(known)
    for key in keys:
        if not any(k == key or k.startswith(f"{key}.") for k in known):
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            raise UsageError(f"{source}: unknown key {key}" + (f", did you mean {close[0]}?" if close else ""))


def check_tree(tree: dict[str, Any], kind: type[T], source: str) -> T:
    """Validate nested dictionaries as a dataclass `kind`.

    Raises:
        UsageError: naming the first value that does not fit. Numbers that are not finite fit nowhere.
    """
    _refuse_infinite(tree, source)
    try:
        checked = _checked(tree, kind, source)
    except OverflowError as error:  # from a number that was written as a string
        raise UsageError(f"{source}: a number is too large: {error}") from error
    _refuse_infinite(dataclasses.asdict(checked), source)  # pyright: ignore[reportArgumentType]
    return checked


def _refuse_infinite(tree: dict[str, Any], source: str) -> None:
    for key, value in flatten(tree).items():
        values = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(one, float) and not math.isfinite(one) for one in values):
            raise UsageError(f"{source}: {key}: give a finite number, not {value}")


def _checked(tree: dict[str, Any], kind: type[T], source: str) -> T:
    try:
        from pydantic import (  # loaded where something is checked, and absent on some machines
            TypeAdapter,
            ValidationError,
        )
    except ImportError:
        try:
            return convert(tree, kind)
        except ValueError as error:
            raise UsageError(f"{source}: {error}") from error
    try:
        return TypeAdapter(kind).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        why = f": {NO_MPS}" if first["input"] == MPS and first["loc"][-1] == "device" else ""
        # For a union pydantic also names the branch, which is not part of the key.
        where = ".".join(part for part in map(str, first["loc"]) if part.isidentifier() or part.isdigit())
        raise UsageError(f"{source}: {where + ': ' if where else ''}{wording(first['msg'])}{why}") from error


def wording(message: str) -> str:
    """A message of pydantic without its own words for values and errors."""
    message = message.removeprefix("Value error, ").replace("Input should be", "must be", 1)
    return re.sub(r"must be a dictionary( or an instance of \w+)?$", "must be a mapping of options", message)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return flat
