"""Write configuration.md from the configuration tree itself.

python docs/make_configuration.py
"""

import ast
import dataclasses
import inspect
import types
import typing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cyclegan_dist.config.changes import EXTENDABLE, SAFE_TO_CHANGE
from cyclegan_dist.config.config import Config
from cyclegan_dist.config.shipped import shipped
from cyclegan_dist.methods.available import METHODS

PAGE = Path(__file__).parent / "configuration.md"
INTRO = """# Configuration

Every key of the tree, generated from it by `python docs/make_configuration.py`. Defaults are overridden by a preset or
YAML file, and those by the command line: `--optim.lr 1e-4`, or in YAML `optim: {lr: 1e-4}`. Keys with a * may differ
when a run is resumed, and those with a + too when it is extended; any other difference is refused.

Presets: PRESETS.

| key | default | values | meaning |
|---|---|---|---|
"""
HEADINGS = INTRO[INTRO.index("| key") :]


def page() -> str:
    """The whole page."""
    names = ", ".join(f"`{name}`" for name in shipped("preset"))
    text = INTRO.replace("PRESETS", names) + "".join(_rows(Config(), ""))
    for name, kind in METHODS.items():
        text += f"\n## Method `{name}`\n\n{HEADINGS}" + "".join(_rows(kind(), "method."))
    return text + "\n"


def _rows(config: Any, prefix: str) -> list[str]:
    rows = []
    meanings, kinds = _meanings(type(config)), typing.get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        key, kind, default = f"{prefix}{field.name}", kinds[field.name], getattr(config, field.name)
        if key == "method":  # in tables of their own
            continue
        if dataclasses.is_dataclass(default):
            rows += _rows(default, f"{key}.")
            continue
        safe = "*" if any(key == s or key.startswith(f"{s}.") for s in SAFE_TO_CHANGE) else ""
        safe = "+" if any(fnmatchcase(key, pattern) for pattern in EXTENDABLE) else safe
        default = " ".join(default) if isinstance(default, tuple) else default
        default = "" if default == "" else f"`{default}`"
        rows.append(f"| `{key}`{safe} | {default} | {_values(kind)} | {meanings[field.name]} |\n")
    return rows


def _values(kind: Any) -> str:
    """What a type admits."""
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is typing.Union or isinstance(kind, types.UnionType):
        return " or ".join(map(_values, get_args(kind)))
    if get_origin(kind) is tuple and Ellipsis not in get_args(kind):
        return f"{len(get_args(kind))} of {_values(get_args(kind)[0])}"
    if get_origin(kind) is tuple:
        return f"{_values(get_args(kind)[0])}, several"
    base, *limits = get_args(kind) or (kind,)
    signs = {"ge": "≥", "gt": ">", "lt": "<", "le": "≤"}
    bounds = [f"{signs[bound.key]} {bound.limit}" for bound in limits]
    return " ".join([base.__name__, ", ".join(bounds)]).strip()


def _meanings(config: type) -> dict[str, str]:
    """The docstring under each field."""
    body = ast.parse(inspect.getsource(config)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, following in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = following.value.value if isinstance(following, ast.Expr) else ""  # pyright: ignore
            found[statement.target.id] = " ".join(str(text).split()).replace("|", "\\|")
    return found


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
