"""Mistakes a user can mend, and how a command reports them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn


class UsageError(Exception):
    """Something the user gave is wrong. The message says what, and what to do; commands print it and end with 2.

    Not a ValueError: config classes raise it, and pydantic and tyro would wrap those in words of their own.
    """


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's main function and exit with its code; a UsageError becomes one line on standard error and code
    2.
    """
    try:
        code = main() or 0
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise what a storage library raises in here as OSError: each has exceptions of its own for a server's bad day."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
