"""Plugin of pytest: several processes share the test files among themselves. Used by `python -m tests`.

A process runs a file after it has created an empty file of the same name in the folder CLAIMS, which only one of them
can. So the last ones end at about the same time, however long each file takes.
"""

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

CLAIMS, NUMBER = "TESTS_CLAIMS", "TESTS_NUMBER"


@pytest.hookimpl
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """As pytest's own loop, with this process's share of the files."""
    if session.config.option.collectonly or session.testsfailed:
        return None
    items = _share(session)
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def _share(session: pytest.Session) -> Iterator[pytest.Item]:
    for path, group in groupby(session.items, lambda item: item.path):
        items = list(group)
        # One process starts all Ray clusters: two at once would take the same ports.
        others = os.environ[NUMBER] != "1" and any(item.get_closest_marker("ray") for item in items)
        if not others and _claim(path.relative_to(session.config.rootpath)):
            yield from items
        else:
            session.testscollected -= len(items)  # progress is shown as a part of this process's tests


def _claim(path: Path) -> bool:
    try:
        Path(os.environ[CLAIMS], str(path).replace("/", "-")).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
