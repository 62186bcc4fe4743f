"""Dataclasses from nested dictionaries, for machines without pydantic: it accepts the values that pydantic does."""

import dataclasses
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclegan_dist.networks.bounds import Bound

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_WANTED = {float: "a valid number", int: "a valid integer", bool: "a valid boolean", str: "a valid string"}


def convert(value: Any, kind: Any, key: str = "") -> Any:
    """`value` as an instance of the annotation `kind`; `key` is its place in the tree, for errors.

    Raises:
        ValueError: naming the key of the first value that does not fit.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass(value, kind, key)
    if origin is Annotated:
        made = convert(value, arguments[0], key)
        for bound in arguments[1:]:
            if isinstance(bound, Bound) and not bound.holds(made, bound.limit):
                raise _refusal(key, f"{bound.words} {bound.limit}")
        return made
    if origin in (Union, UnionType):
        return _first_that_fits(value, arguments, key)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            raise _refusal(key, " or ".join(map(repr, arguments)))
        return value
    if origin is tuple:
        return _tuple(value, arguments, key)
    if origin is dict:
        if not isinstance(value, dict):
            raise _refusal(key, "a valid dictionary")
        return value
    return value if kind is Any else _scalar(value, kind, key)


def _dataclass(tree: Any, kind: Any, key: str) -> Any:
    if not isinstance(tree, dict):
        raise _refusal(key, "a mapping of options")
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for part in (part for part in dataclasses.fields(kind) if part.init):
        place = f"{key}.{part.name}" if key else part.name
        if part.name in tree:
            values[part.name] = convert(tree[part.name], hints[part.name], place)
        elif part.default is part.default_factory is dataclasses.MISSING:
            raise ValueError(f"{place}: Field required")
    return kind(**values)


def _first_that_fits(value: Any, kinds: tuple[Any, ...], key: str) -> Any:
    refusals: list[ValueError] = []
    for kind in kinds:
        try:
            return convert(value, kind, key)
        except ValueError as error:
            refusals.append(error)
    raise refusals[0]


def _tuple(value: Any, kinds: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _refusal(key, "a valid tuple")
    if kinds[1:] == (...,):
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise _refusal(key, f"a tuple of {len(kinds)}")
    return tuple(convert(item, kind, f"{key}.{i}") for i, (item, kind) in enumerate(zip(value, kinds, strict=True)))


def _scalar(value: Any, kind: Any, key: str) -> Any:
    """YAML 1.1 reads 1e-3 as a string, so numbers are accepted as strings; whole numbers may have a point."""
    try:
        if kind is bool:
            if isinstance(value, str):
                return _BOOLEANS[value.lower()]
            return {0: False, 1: True}[value]
        if kind in (int, float) and isinstance(value, str | int | float):
            number = kind(value)
            if isinstance(value, str) or number == value:
                return number
        if kind is Path and isinstance(value, str | Path):
            return Path(value)
        if isinstance(value, kind):
            return value
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise _refusal(key, _WANTED.get(kind, f"an instance of {getattr(kind, '__name__', kind)}"))


def _refusal(key: str, wanted: str) -> ValueError:
    return ValueError(f"{key}: must be {wanted}" if key else f"must be {wanted}")
