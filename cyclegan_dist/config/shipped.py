"""YAML files that come with the package: presets of trainings and sweeps, palettes, and tables of results."""

import importlib.resources
from pathlib import Path
from typing import Any, Literal

from cyclegan_dist.errors import UsageError, suggestion

Kind = Literal["preset", "sweep", "palette", "table"]


def shipped(kind: Kind) -> list[str]:
    """Names of the shipped files."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder(kind).iterdir() if path.name.endswith(".yaml"))


def read_shipped(name_or_file: str, kind: Kind) -> tuple[bytes, str]:
    """The content of a shipped file by its name, or of the user's own .yaml file, and a name for it in messages.

    Raises:
        UsageError: if there is none, with names that are near.
    """
    path = Path(name_or_file)
    if path.suffix in (".yaml", ".yml"):
        try:
            return path.read_bytes(), str(path)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}; name a file that exists") from error
    names = shipped(kind)
    if name_or_file not in names:
        longer = [name for name in names if name_or_file and name_or_file in name][:3]
        guess = f"did you mean {' or '.join(longer)}? " if longer else suggestion(name_or_file, names)
        raise UsageError(f"no {kind} {name_or_file!r}: {guess}there are {in_few_words(kind)}; or name a .yaml file")
    return (_folder(kind) / f"{name_or_file}.yaml").read_bytes(), f"{kind} {name_or_file}"


def in_few_words(kind: Kind) -> str:
    """The names of the shipped files, or where they are listed if they are many."""
    names = shipped(kind)
    if kind == "preset":
        return f"{len(names)}, demo and horse2zebra among them, which python -m cyclegan_dist.train --help lists"
    return ", ".join(names)


def _folder(kind: Kind) -> Any:
    folder = importlib.resources.files("cyclegan_dist.config") / "presets"
    return folder if kind == "preset" else folder / f"{kind}s"
