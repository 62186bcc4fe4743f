"""Paths that the configurations of runs and sweeps name: data sets, teachers, what a run was started from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclegan_dist.config.config import home
from cyclegan_dist.config.yaml_tree import read_tree
from cyclegan_dist.errors import UsageError

FILES = ("config.yaml", "*/config.yaml", "*/*/config.yaml", "*/sweep.yaml", "sweep.yaml")


@dataclass(frozen=True)
class Named:
    """Paths that configurations name.

    Attributes:
        paths: resolved.
        unreadable: configurations that cannot be read, and may name others.
    """

    paths: frozenset[Path]
    unreadable: tuple[Path, ...]

    def has(self, path: Path) -> bool:
        """Whether the resolved `path`, or something in it, is named."""
        return any(place == path or path in place.parents for place in self.paths)


def named_in(roots: Iterable[Path]) -> Named:
    """What is named by the configurations of runs, sweeps and their trials in folders of runs."""
    paths, unreadable = set[Path](), list[Path]()
    for file in sorted({file for root in roots for pattern in FILES for file in root.glob(pattern)}):
        try:
            for text in _texts(read_tree(file.read_bytes(), str(file))):
                if "/" in text and "://" not in text and "\0" not in text:
                    paths.add((home() / text).resolve())
        except (OSError, UsageError, RuntimeError):  # RuntimeError: links in a circle
            unreadable.append(file)
    return Named(frozenset(paths), tuple(unreadable))


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value)
